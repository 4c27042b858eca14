"""`dmd methods`: every recipe at the same cost, in one table."""

from typing import Annotated

import typer

from dmd.commands.arguments import GrowingTable, ParamsFile, read_numbers


def methods(
    params: ParamsFile,
    table: GrowingTable,
    recipe: Annotated[
        list[str] | None, typer.Option(help="A recipe; given again, more of them. None: all.", show_default=False)
    ] = None,
    seeds: Annotated[str, typer.Option(help="Seeds of the distillation, with commas.")] = "0",
    passes: Annotated[float, typer.Option(help="Network passes of each run, which set its updates.", min=1000)] = 192e3,
    samples: Annotated[int, typer.Option(help="Samples in each of three sets.", min=1000)] = 2000,
) -> None:
    """Compare methods at the same number of network passes.

    Each recipe distils from the teacher and the pairs that `dvc repro` left, for as many updates as the passes buy, and
    is scored. Beside the table, `<table>_curves.csv` has the distance through each run.

    \b
    Reads   recipes/, data/<system>/pairs, models/<system>/teacher; the stage `pairs` has run.
    Writes  the table, a row after each run; no generator is kept.
    Example dmd methods params.yaml methods.csv --recipe dmd --recipe regression --seeds 0,1,2
    """
    from dmd.commands.method_runs import compare_methods
    from dmd.commands.recipes import recipe_names
    from dmd.commands.table import print_rows

    print_rows(
        compare_methods(params, table, recipe or recipe_names(), read_numbers(seeds, "--seeds"), passes, samples)
    )
