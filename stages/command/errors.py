"""Errors that a user can cure, printed as one line."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer


@contextmanager
def short_errors() -> Iterator[None]:
    """The context in which an error of the machine, of a file or of the params ends the command without a traceback.

    Raises:
        typer.Exit: with code 1, after the error is printed as `error: …`; others, mistakes in the code, go on up.
    """
    try:
        yield
    except (typer.Exit, typer.Abort, typer.BadParameter):
        raise
    except Exception as error:
        from stages.command.failures import explain  # here, since it imports torch, which takes seconds

        sentence = explain(error)
        if sentence is None:
            raise
        typer.echo(f"error: {sentence}", err=True)
        raise typer.Exit(1) from error
