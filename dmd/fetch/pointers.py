"""Git-LFS pointers: three lines of text that stand for a large file until git has brought it."""

import zipfile
from pathlib import Path

START = b"version https://git-lfs.github.com/spec/"


def is_pointer(path: Path | zipfile.Path) -> bool:
    """Whether a file is a pointer, not what it is named for."""
    with path.open("rb") as file:
        return bool(file.read(len(START)) == START)


def refuse_pointer(path: Path | zipfile.Path) -> None:
    """Let any other file pass.

    Raises:
        ValueError: it is a pointer; names it.
    """
    if is_pointer(path):
        raise ValueError(f"{path}: only a Git-LFS pointer to the file; run `git lfs pull` in its repository")
