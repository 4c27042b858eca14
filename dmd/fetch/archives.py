"""Archives: the named members of a tar or zip file, and nothing else."""

import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

CHUNK = 1 << 20
LARGEST = 8 << 30
"""Bytes that one unpacked member may have; an archive that says more is a bomb."""

BROKEN = (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError)


class ArchiveError(ValueError):
    """An archive is cut, is no archive, or lacks a member; the message names archive and member."""


def extract(archive: Path, members: Sequence[str], folder: Path) -> list[Path]:
    """Copy the named members flat into `folder`: `a/b/c` becomes `folder/c`.

    Nothing is taken from the archive but the bytes of these members: no other path, owner, mode or link.

    Args:
        archive: a tar (any compression) or zip file; a wheel is a zip file.
        members: relative paths inside the archive, with `/`.
        folder: where the files go; must exist.

    Returns:
        The written files, in the order of `members`.

    Raises:
        ArchiveError: the archive is cut or none, a member is missing, is no regular file, or has an unsafe path.
    """
    return [_extract_one(archive, member, folder / _safe_name(archive, member)) for member in members]


def find_member(archive: Path, name: str) -> str:
    """The path of the one member of a zip file whose last part is `name`.

    Raises:
        ArchiveError: the file is cut or no zip file, or holds no such member or several.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            found = [member for member in opened.namelist() if PurePosixPath(member).name == name]
    except BROKEN as error:
        raise ArchiveError(f"{archive.name}: cannot be read as a zip file: {error}") from error
    if len(found) != 1:
        raise ArchiveError(f"{archive.name}: {len(found)} members are called {name!r}, not one")
    return found[0]


def _safe_name(archive: Path, member: str) -> str:
    """The last part of a member's path."""
    path = PurePosixPath(member)
    if path.is_absolute() or ".." in path.parts or "\\" in member or not path.name:
        raise ArchiveError(f"{archive.name}: member {member!r} is not a plain relative path")
    return path.name


def _extract_one(archive: Path, member: str, target: Path) -> Path:
    """Write one member to `target`; a half-written file is removed."""
    try:
        if zipfile.is_zipfile(archive):
            _from_zip(archive, member, target)
        else:
            _from_tar(archive, member, target)
    except KeyError as error:
        raise ArchiveError(f"{archive.name}: no member {member!r}") from error
    except BROKEN as error:
        target.unlink(missing_ok=True)
        raise ArchiveError(f"{archive.name}: cannot read member {member!r}: {error}") from error
    return target


def _from_zip(archive: Path, member: str, target: Path) -> None:
    """Write a regular file; the upper half of its attributes holds the Unix mode, 0 when none was stored."""
    with zipfile.ZipFile(archive) as opened:
        entry = opened.getinfo(member)
        if entry.is_dir() or entry.external_attr >> 28 not in (0o00, 0o10):
            raise ArchiveError(f"{archive.name}: member {member!r} is no regular file")
        _check_size(archive, member, entry.file_size)
        with opened.open(entry) as source, target.open("wb") as sink:
            shutil.copyfileobj(source, sink, CHUNK)


def _from_tar(archive: Path, member: str, target: Path) -> None:
    """Write a regular file; links and devices are refused."""
    with tarfile.open(archive) as opened:
        entry = opened.getmember(member)
        source = opened.extractfile(entry) if entry.isreg() else None
        if source is None:
            raise ArchiveError(f"{archive.name}: member {member!r} is no regular file")
        _check_size(archive, member, entry.size)
        with source, target.open("wb") as sink:
            shutil.copyfileobj(source, sink, CHUNK)


def _check_size(archive: Path, member: str, size: int) -> None:
    """Both readers stop at the size that the archive names, so that is what counts."""
    if size > LARGEST:
        raise ArchiveError(f"{archive.name}: member {member!r} would unpack to {size} bytes, above {LARGEST}")
