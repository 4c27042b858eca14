"""Files that are whole or not there: safetensors and JSON, written to a temporary name and renamed; content hashes."""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from dmd.runtime.folders import files_below

logger = logging.getLogger(__name__)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A name to write to; that file takes the place of `path` when the block ends without an error.

    So a link to DVC's cache, or a file that shares the bytes of one there, is replaced and never written through.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def save_tensors(path: Path, tensors: Mapping[str, Tensor], notes: dict[str, str] | None = None) -> None:
    """Write named tensors as one safetensors file, atomically; `notes` go into its head."""
    with whole_file(path) as temporary:
        save_file({name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}, temporary, notes)


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file onto the CPU."""
    return load_file(path)


def save_json(path: Path, value: Any, sort_keys: bool = True) -> None:
    """Write JSON, atomically; with sorted keys, or in their order."""
    with whole_file(path) as temporary:
        text = json.dumps(value, indent=2, sort_keys=sort_keys, allow_nan=False)
        temporary.write_text(text + "\n", encoding="utf-8")


def load_json(path: Path) -> Any:
    """Read JSON."""
    return json.loads(path.read_text(encoding="utf-8"))


@contextmanager
def whole_folder(folder: Path, keep_same: bool = False) -> Iterator[Path]:
    """A folder to fill; it takes the place of `folder` when the block ends without an error, and is not seen before.

    Where `folder` is a link, as to a larger disk, it takes the place of what that leads to. With `keep_same`, one that
    is there with the same files stays, for those who are reading it.
    """
    place = folder.resolve() if folder.is_symlink() else folder
    part, old = (place.with_name(f".{place.name}.{word}") for word in ("part", "old"))
    if old.exists() and not place.exists():
        os.replace(old, place)  # a kill between the two moves left it there
    for left in (part, old):
        shutil.rmtree(left, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        yield part
        if not (keep_same and place.is_dir() and folder_sha256(place) == folder_sha256(part)):
            if place.exists():
                os.replace(place, old)
            try:
                os.replace(part, place)
            except BaseException:
                if old.exists():
                    os.replace(old, place)
                raise
    finally:
        for left in (part, old):
            shutil.rmtree(left, ignore_errors=True)


def check_replaceable(folder: Path) -> None:
    """Refuse a folder whose place `whole_folder` could not take, before anything is computed for it.

    Raises:
        OSError: it is a file or a mount point, or lies where nothing may be written; names it and the cure.
    """
    place = folder.resolve()
    said = str(folder) if place == folder.absolute() else f"{folder}, which leads to {place},"
    if os.path.ismount(place):
        raise OSError(
            f"{said} is a mount point, and cannot be replaced; mount the folder above it, or link to a folder"
        )
    if place.exists() and not place.is_dir():
        raise OSError(f"{said} is a file, and a folder goes there; move it away")
    there = next(path for path in place.parents if path.exists())
    if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        raise OSError(
            f"{said} cannot be replaced, since {there} cannot be written; mend its mode, its mount or the link"
        )


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder_sha256(folder: Path) -> str:
    """SHA-256 over the sorted relative names and hashes of all files below a folder, in hex.

    Raises:
        ValueError: a folder in it cannot be entered.
    """
    lines = [f"{file_sha256(path)}  {path.relative_to(folder).as_posix()}\n" for path in files_below(folder)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()
