"""Every file below a folder is found, through links too; what is not is said."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from dmd.runtime.files import folder_sha256
from dmd.runtime.folders import files_below


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("folder/a", "folder/sub/b", "folder/sub-c", "elsewhere/d", "elsewhere/deep/e"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path / "folder"


def names(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in files_below(folder)]


def test_without_links_it_is_what_rglob_finds(folder: Path) -> None:
    assert files_below(folder) == sorted(path for path in folder.rglob("*") if path.is_file())


def test_links_are_followed_and_hashed_as_if_they_were_copies(folder: Path, tmp_path: Path) -> None:
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    (folder / "file").symlink_to(tmp_path / "elsewhere" / "d")
    assert names(folder) == ["a", "file", "link/d", "link/deep/e", "sub/b", "sub-c"]
    shutil.copytree(folder, tmp_path / "copied", symlinks=False)
    assert folder_sha256(folder) == folder_sha256(tmp_path / "copied")
    (tmp_path / "elsewhere/deep/e").write_text("changed")
    assert folder_sha256(folder) != folder_sha256(tmp_path / "copied")


def test_cycles_end_and_links_that_lead_nowhere_are_counted(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = names(folder)
    (folder / "back").symlink_to(folder)
    (folder / "sub" / "up").symlink_to("..")
    (folder / "again").symlink_to("sub")
    (folder / "itself").symlink_to("itself")
    (folder / "nowhere").symlink_to(tmp_path / "gone")
    os.mkfifo(folder / "pipe")
    assert names(folder) == before
    assert (
        f"{folder}: 6 links that lead nowhere or back, or no files, are passed over, as is {folder}/again"
        in caplog.text
    )


def test_a_folder_that_cannot_be_entered_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = os.scandir  # permissions do not hold root, who may run the tests

    def scan(path: Path) -> Iterator[os.DirEntry[str]]:
        if Path(path).name == "sub":
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", scan)
    for walk in (files_below, folder_sha256):
        with pytest.raises(ValueError, match=rf"{folder}/sub: cannot be entered: Permission denied; .*chmod"):
            walk(folder)
