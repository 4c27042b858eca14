"""What every stage's command line shares: the one argument, logging, and errors as one clear line."""

import ctypes
import logging
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated

import typer

from dmd.config import Config, load_config
from dmd.work import loaded_sources

ParamsFile = Annotated[Path, typer.Argument(help="The params file, from the repository's root.", show_default=False)]

USER_ERRORS = (ValueError, OSError, FloatingPointError)


def keep_freed_memory() -> None:
    """Let glibc keep freed memory for the next tensor, so that activations on the CPU are not paged in anew each time.

    The three are M_MMAP_MAX, M_TRIM_THRESHOLD and M_TOP_PAD of mallopt(3). Elsewhere than on glibc it does nothing.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        for option, value in ((-4, 0), (-1, 2**31 - 1), (-2, 2**30)):
            mallopt(option, value)


def check_sources(before: Mapping[str, str]) -> None:
    """Refuse to finish where a source file was edited while the stage ran: DVC would lock the new file's hash.

    Raises:
        ValueError: names the files.
    """
    after = loaded_sources()
    changed = [name for name, digest in before.items() if after.get(name) != digest]
    if changed:
        raise ValueError(f"{', '.join(changed)} changed while the stage ran; run the stage again")


def run(stage: Callable[[Config], None]) -> None:
    """Make `stage` a command `python -m stages.<name> params.yaml`, and run it.

    Its docstring is the command's help. Errors that a user can cure are printed without a traceback; exit code 1.
    """

    def command(params: ParamsFile) -> None:
        keep_freed_memory()
        logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
        try:
            config, before = load_config(params), loaded_sources()
            stage(config)
            check_sources(before)
        except USER_ERRORS as error:
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(1) from error

    command.__doc__ = stage.__doc__
    typer.run(command)
