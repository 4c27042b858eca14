"""`dmd timesteps`: one call of the teacher's network over the timestep of the one step."""

from typing import Annotated

import typer

from dmd.commands.arguments import ParamsFile, TableFile, read_numbers


def timesteps(
    params: ParamsFile,
    table: TableFile,
    timesteps: Annotated[str, typer.Option(help="Values of t*, with commas.")] = "200,300,400,500,600,700,800,900,999",
    samples: Annotated[int, typer.Option(help="Samples in each of three sets.", min=2)] = 2000,
) -> None:
    """Score one step of the teacher over its timestep t*.

    That is the generator before distillation, one call of the teacher's network. The choice of
    `distill.generator_timesteps` begins here; what distillation makes of it, `dmd sweep` shows.

    \b
    Reads   models/<system>/teacher and what `fetch` left; the stage `teacher` has run.
    Writes  the table, after each row: one a timestep.
    Example dmd timesteps params.yaml timesteps.csv --timesteps 400,600,800
    """
    from dmd.commands.table import print_rows, write_rows
    from dmd.commands.timestep_scores import timestep_rows
    from dmd.params.config import load_config

    rows = []
    for row in timestep_rows(load_config(params), read_numbers(timesteps, "--timesteps"), samples):
        rows.append(row)
        write_rows(table, rows)
    print_rows(rows)
