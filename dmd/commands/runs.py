"""`dmd runs`: experiments, with the few columns that matter."""

from pathlib import Path
from typing import Annotated

import typer

from dmd.commands.arguments import ParamsFile


def runs(
    params: ParamsFile = Path("params.yaml"),
    score: Annotated[
        list[str] | None, typer.Option(help="A column, as student.recall; may be given again. If none, a choice.")
    ] = None,
    commits: Annotated[int, typer.Option(help="Show experiments of so many last commits.", min=1)] = 1,
) -> None:
    """List experiments by what differs and what matters.

    `dvc exp show` has a column for every number; this has those of the params that are not alike in all rows.

    \b
    Reads   the workspace, the last commits and their experiments, through DVC.
    Writes  nothing
    Example dmd runs params.yaml --score student.recall
    """
    from dmd.commands.run_list import SCORES, list_runs
    from dmd.commands.table import print_rows
    from dmd.params.config import load_config

    system = load_config(params).system
    print_rows(list_runs(params.as_posix(), system, score or SCORES, commits))
