"""What every stage's command line shares: the one argument, logging, and errors as one clear line."""

import ctypes
import hashlib
import inspect
import logging
import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated

import typer

from dmd.params.config import Config, load_config
from dmd.runtime.files import check_replaceable
from dmd.runtime.launched import check_processes, check_settings, check_shared, is_first_process, is_worker
from dmd.runtime.locks import alone
from dmd.runtime.work_folder import work_root
from stages.command.edits import check_edits, locked_inputs
from stages.command.errors import short_errors
from stages.command.launcher import end_clearly, join_on_cpu, leave_group
from stages.command.pipeline import PIPELINE, check_inputs, output_folders

ALONE = ("fetch", "report")
"""Stages whose work several processes cannot share; `teacher` is one where it trains none."""

ParamsFile = Annotated[Path, typer.Argument(help="The params file, from the repository's root.", show_default=False)]


def keep_freed_memory() -> None:
    """Let glibc keep freed memory for the next tensor, so that activations on the CPU are not paged in anew each time.

    The three are M_MMAP_MAX, M_TRIM_THRESHOLD and M_TOP_PAD of mallopt(3). Elsewhere than on glibc it does nothing.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        for option, value in ((-4, 0), (-1, 2**31 - 1), (-2, 2**30)):
            mallopt(option, value)


def hold_outputs(stage: str, system: str) -> AbstractContextManager[None]:
    """The context in which this run alone writes the stage's outputs; workers and further processes write none.

    Raises:
        BusyError: another run of the stage is under way.
        OSError: a folder for outputs cannot be written or replaced.
    """
    if is_worker() or not is_first_process():
        return nullcontext()
    for folder in output_folders(stage, system):
        check_replaceable(folder)
    for folder in (Path(name, system) for name in ("data", "models", "metrics")):
        there = next(path for path in (folder, *folder.parents) if path.exists())
        if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
            raise PermissionError(f"{there} cannot be written, and outputs go there; mend its mode or its mount")
    return alone(_outputs_lock(stage, system), f"the stage `{stage}` of {system}")


def _outputs_lock(stage: str, system: str) -> Path:
    """The lock on a stage's outputs in this checkout, by whatever path it is reached.

    In a folder of locks that several checkouts share, as `$DMD_WORK` and DVC's temporary copies do, by its path.
    """
    locks = work_root() / "locks"
    if locks.resolve().is_relative_to(Path.cwd()):
        return locks / f"{stage}-{system}"
    here = hashlib.sha256(str(Path.cwd()).encode()).hexdigest()[:8]
    return locks / f"{stage}-{system}-{here}"


def check_place(params: Path, root: str) -> None:
    """Refuse to run elsewhere than at the repository's root, as `root` in the params leads to it: outputs lie there.

    Raises:
        ValueError: names the folder to go to.
    """
    place = (params.resolve().parent / root).resolve()
    if place != Path.cwd() and (place / PIPELINE).is_file():
        raise ValueError(
            f"this is {Path.cwd()}, and a stage runs in the repository's root; "
            f"go to {place}, and name {os.path.relpath(params.resolve(), place)}"
        )


def run(stage: Callable[[Config], None]) -> None:
    """Make `stage` a command `python -m stages.<name> params.yaml`, and run it.

    Its docstring is the command's help. Errors that a user can cure are printed without a traceback; exit code 1.
    """

    def command(params: ParamsFile) -> None:
        keep_freed_memory()
        end_clearly()
        with short_errors():
            check_processes()
            check_settings()
            level = logging.INFO if is_first_process() else logging.WARNING
            logging.basicConfig(level=level, format="%(message)s", stream=sys.stdout)
            join_on_cpu()
            config, name = load_config(params), Path(inspect.getfile(stage)).stem
            check_place(params, config.root)
            check_inputs(name, config.system)
            check_shared(name, name not in ALONE and (name != "teacher" or config.teacher.source == "train"))
            before = locked_inputs(params, name)
            with hold_outputs(name, config.system):
                stage(config)
            check_edits(before, params)
            leave_group()

    command.__doc__ = stage.__doc__
    typer.run(command)
