"""What every stage's command line shares: the one argument, logging, and errors as one clear line."""

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from dmd.config import Config, load_config

ParamsFile = Annotated[Path, typer.Argument(help="The params file, from the repository's root.", show_default=False)]

USER_ERRORS = (ValueError, OSError, FloatingPointError)


def run(stage: Callable[[Config], None]) -> None:
    """Make `stage` a command `python -m stages.<name> params.yaml`, and run it.

    Its docstring is the command's help. Errors that a user can cure are printed without a traceback; exit code 1.
    """

    def command(params: ParamsFile) -> None:
        logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
        try:
            stage(load_config(params))
        except USER_ERRORS as error:
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(1) from error

    command.__doc__ = stage.__doc__
    typer.run(command)
