"""`dmd sweep`: short distillations over a grid of params."""

from typing import Annotated

import typer

from dmd.commands.arguments import GrowingTable, ParamsFile


def sweep(
    params: ParamsFile,
    table: GrowingTable,
    axis: Annotated[
        list[str],
        typer.Option(
            help="key=value,value…; keys `alpha` and `distill.…`; given again, they make a grid.", show_default=False
        ),
    ],
    samples: Annotated[int, typer.Option(help="Samples in each of three sets.", min=2)] = 2000,
) -> None:
    """Try params by short distillations, over a grid of their values.

    One distillation for each combination, scored on a few thousand samples. Teacher and pairs are those that `dvc
    repro` left for the params file. The column `base` is a hash of that file and of the teacher, so that rows of
    others are told apart.

    \b
    Reads   data/<system>/pairs, models/<system>/teacher; the stage `pairs` has run.
    Writes  the table, after each row; no generator is kept.
    Example dmd sweep params.yaml sweep.csv --axis distill.steps=60 --axis alpha=2,8,32
    """
    from dmd.commands.overrides import grid
    from dmd.commands.short_runs import check_axes, fill_table
    from dmd.commands.table import print_rows

    combinations = list(grid(axis))
    check_axes(combinations)
    print_rows(fill_table(params, table, combinations, samples))
