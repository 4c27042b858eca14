"""Locks: files that one process holds at a time. The kernel frees them however the holder ends: none is ever stale."""

import errno
import fcntl
import logging
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

logger = logging.getLogger(__name__)

UNABLE = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL)
"""What file systems say that have no locks."""


class BusyError(OSError):
    """Another process holds what this one needs; the message says who, and the cure."""


def take(path: Path, wait: bool = False) -> TextIO | None:
    """Hold the lock file `path`, made if missing, until the returned file is closed or this process ends.

    By `flock(2)`: no time stamp and no clock is looked at, and a killed holder holds nothing.

    Args:
        path: the file; it says which process holds it.
        wait: wait for the holder to finish or die, instead of returning None.

    Returns:
        The open file; None where another one holds it and `wait` is false.

    Raises:
        OSError: the file system has no locks; names the file and the cure.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("a+", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        file.close()
        return None
    except OSError as error:
        file.close()
        if error.errno not in UNABLE:
            raise
        raise OSError(
            f"{path} cannot be locked: {error.strerror}; its file system has no flock(2): set DMD_WORK to a folder of "
            "one that has, as a local disk's, where work and locks then lie"
        ) from error
    if not _is_at(file, path):  # its last holder has removed it since
        file.close()
        return take(path, wait)
    file.truncate(0)
    file.write(f"process {os.getpid()} on {platform.node()}")
    file.flush()
    return file


@contextmanager
def alone(path: Path, what: str, wait: bool = False) -> Iterator[None]:
    """Hold the lock file `path` for `what` while the block runs; with `wait`, from when its holder is done or dead.

    Raises:
        BusyError: another process holds it, and `wait` is false; names that process, as it wrote itself down.
    """
    file = take(path)
    if file is None:
        said = f"{what} is being run by {_holder(path)}"
        if not wait:
            raise BusyError(f"{said}; wait until it is done, or stop it ({path})")
        logger.info("%s; waiting until it is done (%s)", said, path)
        file = take(path, wait=True)
    assert file is not None
    with file:
        yield
        path.unlink(missing_ok=True)


def _holder(path: Path) -> str:
    """The holder of a lock file as it wrote itself down; it may be gone by now."""
    try:
        return path.read_text(encoding="utf-8") or "another process"
    except FileNotFoundError:
        return "another process"


def _is_at(file: TextIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
