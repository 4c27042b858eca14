"""Work that can be cut off: a folder beside DVC's outputs, named by the content of all that the result depends on."""

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from dmd.runtime.files import file_sha256, folder_sha256
from dmd.runtime.launched import is_first_process, is_in_group
from dmd.runtime.locks import alone

TEMPORARY_COPIES = "/.dvc/tmp/exps/"
"""Where `dvc exp run --temp` and `--queue` put their copies of the repository, each under a name of its own."""

KEPT = "kept"
"""Marks a finished run's folder that later runs may take from."""


def original(path: Path) -> Path:
    """A path from the repository's root; in DVC's temporary copies of a repository it leads to the original's.

    A copy has only what git tracks, and is not found again after a kill.
    """
    repository, copy, _ = Path.cwd().as_posix().partition(TEMPORARY_COPIES)
    return Path(repository, path) if copy else path


def given(path: Path) -> Path:
    """A path that a user gave: in a temporary copy of a repository the copy's own where it is there."""
    return path if path.exists() else original(path)


def work_root() -> Path:
    """`$DMD_WORK`, else `.work` of the repository, also in temporary copies of it."""
    return Path(os.environ.get("DMD_WORK") or original(Path(".work")).absolute())


@contextmanager
def alone_in(work: Path) -> Iterator[None]:
    """The context in which a run uses its work folder; a second run there waits until the first is done.

    That is another experiment with the same inputs, params and code up to here, as `dvc queue start -j 2` runs them.

    Raises:
        BusyError: it would wait, but in a group, whose other processes would not wait with the first.
    """
    lock = work.with_name(f"{work.name}.lock")
    held = alone(lock, f"the same `{work.parent.name}`", wait=not is_in_group())
    with held if is_first_process() else nullcontext():
        work.mkdir(parents=True, exist_ok=True)  # the first has removed it
        yield


def fingerprint(inputs: Sequence[Path], params: Mapping[str, Any], sources: Mapping[str, str] | None = None) -> str:
    """Hash of the content of every input, the params and the sources, 16 hex.

    `sources` has hashes by name; without it, they are of every loaded module of this project.
    """
    hashes = {path.as_posix(): folder_sha256(path) if path.is_dir() else file_sha256(path) for path in inputs}
    parts = json.dumps([hashes, params, loaded_sources() if sources is None else sources], sort_keys=True)
    return hashlib.sha256(parts.encode()).hexdigest()[:16]


def work_folder(stage: str, inputs: Sequence[Path], params: Mapping[str, Any]) -> Path:
    """`<work root>/<stage>/<fingerprint>`, made if missing.

    A killed stage finds its own work there; a changed input, parameter or source leads elsewhere.
    """
    folder = work_root() / stage / fingerprint(inputs, params)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / KEPT).unlink(missing_ok=True)
    return folder


def finish(work: Path) -> None:
    """Remove a finished run's work folder; a kill leaves it whole or out of the way, never half."""
    rubbish = work.with_name(f"{work.name}.{os.getpid()}.old")
    if work.exists():
        os.replace(work, rubbish)
    for folder in work.parent.glob(f"{work.name}.*.old"):
        shutil.rmtree(folder, ignore_errors=True)


def keep_alone(work: Path) -> None:
    """Keep a finished run's work folder for later runs, in place of the one kept before beside it."""
    for mark in work.parent.glob(f"*/{KEPT}"):
        if mark.parent != work:
            finish(mark.parent)
    (work / KEPT).touch()


def loaded_sources() -> dict[str, str]:
    """SHA-256 of the source of every loaded module of this project and of the running command.

    By file name, seen from the working directory: a copy of the repository has the same names.
    """
    modules = [module for name, module in sys.modules.items() if name.split(".")[0] in ("dmd", "stages", "__main__")]
    files = {Path(file) for module in modules if (file := getattr(module, "__file__", None))}
    return {os.path.relpath(path): file_sha256(path) for path in sorted(files) if path.suffix == ".py"}
