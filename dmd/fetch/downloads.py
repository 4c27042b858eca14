"""Verified downloads: files known by their hashes, brought by mirrors that are tried in order.

Whatever mirror serves, the bytes are the same, because nothing is kept that does not match its hash.
"""

import gzip
import hashlib
import io
import logging
import os
import shutil
import tempfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

from dmd.fetch.pointers import START as POINTER
from dmd.runtime.work_folder import original

logger = logging.getLogger(__name__)

CHUNK = 1 << 20


class DownloadError(OSError):
    """A file cannot be had or is not what it should be; the message says what was tried and the cure."""


@dataclass(frozen=True)
class Original:
    """A file known by its hash."""

    name: str
    """File name in the folder of downloads; `name.gz` with the same content does as well."""
    algorithm: Literal["md5", "sha256", "git-blob"]
    """The hash function; `git-blob` is git's id of the content: SHA-1 of `blob <size>`, a zero byte, and the bytes."""
    digest: str
    """Lower-case hex digest of the content, or its first digits."""

    def check(self, path: Path, unpack: bool = False) -> None:
        """Compare the content of `path` (gunzipped first if `unpack`) with the hash.

        Raises:
            DownloadError: the content differs or cannot be unpacked; names the file and what it holds instead.
        """
        try:
            with _open(path, unpack) as source:
                start = source.read(512)
                source.seek(0)
                found = hashlib.file_digest(source, lambda: self._hash(source))
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise DownloadError(f"{path.name} is cut or no gzip file: {error}") from error
        if not found.hexdigest().startswith(self.digest):
            what = "an HTML page" if start.lstrip()[:1] == b"<" else f"{path.stat().st_size} bytes"
            what = "a Git-LFS pointer (run `git lfs pull`)" if start.startswith(POINTER) else what
            raise DownloadError(
                f"{path.name} is not the file that is wanted: {what} with {self.algorithm} {found.hexdigest()}, "
                f"wanted {self.digest}"
            )

    def _hash(self, source: gzip.GzipFile | io.BufferedReader) -> "hashlib._Hash":
        """A fresh hash of the algorithm, for a file that stands at its start."""
        if self.algorithm != "git-blob":
            return hashlib.new(self.algorithm, usedforsecurity=False)
        size = source.seek(0, os.SEEK_END)
        source.seek(0)
        return hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)


@runtime_checkable
class Mirror(Protocol):
    """One source of files."""

    @property
    def name(self) -> str:
        """What messages call it; enough for a person to fetch from it by hand."""
        ...

    def bring(self, wanted: Sequence[Original], folder: Path, timeout: float) -> None:
        """Write what it has of `wanted` into `folder`, as `name` or `name.gz`.

        Args:
            wanted: the files that are missing.
            folder: an empty folder.
            timeout: seconds that the mirror may stay silent.

        Raises:
            OSError, ValueError: it does not answer, or what it sent is wrong; the message is shown to people.
        """
        ...


def downloads_folder() -> Path:
    """The folder of verified originals: `$DMD_DOWNLOADS`, else `downloads` of the repository, also in copies of it."""
    return Path(os.environ.get("DMD_DOWNLOADS") or original(Path("downloads")))


def find(original: Original, folder: Path) -> Path | None:
    """The verified `folder/name` or `folder/name.gz`; a wrong file is named in the log and passed over."""
    for path in (folder / original.name, folder / f"{original.name}.gz"):
        if path.is_file():
            try:
                original.check(path, unpack=path.name != original.name)
            except DownloadError as error:
                logger.warning("%s: not used: %s", folder, error)
            else:
                return path
    return None


def obtain(originals: Sequence[Original], mirrors: Sequence[Mirror], folder: Path, timeout: float) -> None:
    """Make sure that `folder` holds every original, right; the mirrors are asked only for what is missing.

    Args:
        originals: the files.
        mirrors: sources, tried in order; each is asked for what the ones before did not bring.
        folder: the folder of downloads; made if needed.
        timeout: seconds that one mirror may stay silent.

    Raises:
        DownloadError: a file is still missing; names every mirror, what it answered, and where to put files by hand.
    """
    missing = [original for original in originals if find(original, folder) is None]
    if not missing:
        logger.info("%d of %d files are in %s and right; no network used", len(originals), len(originals), folder)
        return
    answers = []
    for mirror in mirrors:
        brought, answer = _ask(mirror, missing, folder, timeout)
        logger.info("%s: brought %d of %d files%s", mirror.name, len(brought), len(missing), answer and f"; {answer}")
        missing = [original for original in missing if original not in brought]
        if not missing:
            return
        answers.append(f"  {mirror.name}: {answer or 'answered, but without the files'}")
    raise DownloadError(_failure(missing, answers, folder))


def place(original: Original, folder: Path, target: Path) -> None:
    """Write the verified original, unpacked, to `target`, by a temporary name and a rename.

    Raises:
        DownloadError: `folder` does not hold it.
    """
    found = find(original, folder)
    if found is None:
        raise DownloadError(f"{original.name} is not in {folder}; run fetch again")
    target.parent.mkdir(parents=True, exist_ok=True)
    # A copy, not a hard link: DVC makes its outputs read-only, which would reach the original through the link.
    with tempfile.TemporaryDirectory(prefix=".part-", dir=target.parent) as scratch:
        part = Path(scratch) / target.name
        with _open(found, unpack=found.name != original.name) as source, part.open("wb") as sink:
            shutil.copyfileobj(source, sink, CHUNK)
        original.check(part)
        part.replace(target)


def _open(path: Path, unpack: bool) -> gzip.GzipFile | io.BufferedReader:
    return gzip.open(path, "rb") if unpack else path.open("rb")


def _ask(mirror: Mirror, wanted: Sequence[Original], folder: Path, timeout: float) -> tuple[list[Original], str]:
    """Let one mirror bring files; the right ones are moved into `folder`. Returns these and what went wrong, if so."""
    logger.info("%s: asked for %s", mirror.name, ", ".join(original.name for original in wanted))
    folder.mkdir(parents=True, exist_ok=True)
    brought = []
    with tempfile.TemporaryDirectory(prefix=".part-", dir=folder) as scratch:
        try:
            mirror.bring(wanted, Path(scratch), timeout)
            answer = ""
        except (OSError, ValueError) as error:
            answer = str(error)
        for original in wanted:
            found = find(original, Path(scratch))
            if found is not None:
                found.replace(folder / found.name)
                brought.append(original)
    return brought, answer


def _failure(missing: Sequence[Original], answers: Sequence[str], folder: Path) -> str:
    """The one error: what is missing, what was tried, and the cure."""
    wanted = [f"  {original.name}  {original.algorithm} {original.digest}" for original in missing]
    return "\n".join(
        [
            f"cannot get {', '.join(original.name for original in missing)}. Mirrors tried:",
            *answers,
            f"Put the files by hand into {folder.absolute()} and run this again (a .gz of each will do; "
            "$DMD_DOWNLOADS names another folder):",
            *wanted,
        ]
    )
