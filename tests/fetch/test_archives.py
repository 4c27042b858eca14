"""Archives: the named members come out, and nothing else; a cut archive leaves nothing."""

import io
import os
import tarfile
import zipfile

import pytest

from dmd.fetch.archives import ArchiveError, extract

CONTENT = bytes(range(256)) * 400
HTML = b"<!doctype html><title>Please log in</title>"


def tar_bytes(*entries: tuple[str, bytes | str]) -> bytes:
    """A .tgz; a string as content makes a symbolic link to it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in entries:
            info = tarfile.TarInfo(name)
            if isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
                archive.addfile(info)
            else:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def zip_bytes(*entries: tuple[str, bytes | str]) -> bytes:
    """A zip file; a string as content makes a symbolic link to it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries:
            info = zipfile.ZipInfo(name)
            info.external_attr = (0o120777 if isinstance(content, str) else 0o100644) << 16
            archive.writestr(info, content)
    return buffer.getvalue()


@pytest.mark.parametrize("pack", [tar_bytes, zip_bytes])
def test_only_the_named_members_come_out(tmp_path, pack):
    path, out = tmp_path / "archive", tmp_path / "out"
    path.write_bytes(pack(("package/evil.sh", b"x"), ("package/data/images", CONTENT), ("../up", b"x")))
    out.mkdir()
    assert extract(path, ["package/data/images"], out) == [out / "images"]
    assert (out / "images").read_bytes() == CONTENT
    assert sorted(os.listdir(tmp_path)) == ["archive", "out"]
    assert os.listdir(out) == ["images"]


@pytest.mark.parametrize("pack", [tar_bytes, zip_bytes])
@pytest.mark.parametrize(
    ("member", "message"),
    [
        ("../up", "plain relative"),
        ("/abs", "plain relative"),
        ("link", "no regular file"),
        ("none", "no member 'none'"),
    ],
)
def test_unsafe_and_missing_members_are_refused(tmp_path, pack, member, message):
    path, out = tmp_path / "archive", tmp_path / "out"
    path.write_bytes(pack(("../up", b"x"), ("/abs", b"x"), ("link", "/etc/passwd")))
    out.mkdir()
    with pytest.raises(ArchiveError, match=message):
        extract(path, [member], out)
    assert os.listdir(out) == []
    assert not (tmp_path / "up").exists()


@pytest.mark.parametrize("content", [tar_bytes(("a", os.urandom(5000)))[:2500], HTML, b""])
def test_a_cut_archive_leaves_nothing(tmp_path, content):
    (tmp_path / "archive").write_bytes(content)
    with pytest.raises(ArchiveError, match="archive"):
        extract(tmp_path / "archive", ["a"], tmp_path)
    assert os.listdir(tmp_path) == ["archive"]
