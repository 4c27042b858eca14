"""The program `dmd`. A new command is a file with a function of its name, and a line in `COMMANDS`.

One of two words is a function of the second in a file of the first, and a line in `GROUPS`.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import typer

from dmd.commands import demo
from dmd.commands.compare import compare
from dmd.commands.draw import draw
from dmd.commands.export import export
from dmd.commands.methods import methods
from dmd.commands.publish import publish
from dmd.commands.recipe import recipe
from dmd.commands.runs import runs
from dmd.commands.spread import spread
from dmd.commands.steps import steps
from dmd.commands.sweep import sweep
from dmd.commands.timesteps import timesteps
from stages.command.errors import short_errors

COMMANDS: tuple[Callable[..., None], ...] = (
    *(draw, recipe, runs, compare, methods, sweep, steps, timesteps, spread),
    *(export, publish),
)
"""In the order of `dmd --help`. A command's name is its function's, its help the docstring."""

GROUPS: dict[str, tuple[str, tuple[Callable[..., None], ...]]] = {
    "demo": ("A page that draws in the browser: build it, serve it.", (demo.build, demo.serve)),
}
"""Commands of two words: the help of the first, and the functions."""


def guarded(command: Callable[..., None]) -> Callable[..., None]:
    """The command, with freed memory kept as in a stage, and errors that a user can cure as one line and exit 1."""

    @functools.wraps(command)
    def run(*args: Any, **options: Any) -> None:
        with short_errors():
            from stages.command.cli import keep_freed_memory  # here, since it imports the params: slow for `--help`

            keep_freed_memory()
            command(*args, **options)

    return run


def build_app() -> typer.Typer:
    """The program of all commands."""
    program = group_of(
        "One-step diffusion distillation: look at runs of the pipeline, and use what they made.\n\n"
        "The pipeline itself is DVC's: `dvc repro`. Run commands from the repository's root.",
        COMMANDS,
    )
    for name, (words, commands) in GROUPS.items():
        program.add_typer(group_of(words, commands), name=name)
    return program


def group_of(words: str, commands: Sequence[Callable[..., None]]) -> typer.Typer:
    """Commands under one help, whose first words are `words`."""
    group = typer.Typer(
        help=words, no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False
    )
    for command in commands:
        group.command()(guarded(command))
    return group


app = build_app()
