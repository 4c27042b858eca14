"""`dmd spread`: how sure the spread of a score is."""

from typing import Annotated

import typer

from dmd.commands.arguments import ParamsFile, TableFile


def spread(
    params: ParamsFile,
    table: TableFile,
    seeds: Annotated[int, typer.Option(help="Evaluations, each with a seed of its own.", min=2)] = 3,
) -> None:
    """Measure how sure the reported spread of a score is.

    The student is scored with several seeds, each its own sets of noises, and over all sets together. An evaluation
    reports the standard deviation over its few sets; the true one is that over many more. The last column is the
    first ÷ the second. Sets and samples a set are those of the params.

    \b
    Reads   models/<system>/generator and what `fetch` left; the stage `distill` has run.
    Writes  the table, one row a seed and one for all.
    Example dmd spread params.yaml spread.csv --seeds 5
    """
    from dmd.commands.spread_scores import spread_rows
    from dmd.commands.table import print_rows, write_rows
    from dmd.params.config import load_config

    rows = spread_rows(load_config(params), seeds)
    write_rows(table, rows)
    print_rows(rows)
