"""`dmd steps`: the teacher over solvers and numbers of steps."""

from typing import Annotated

import typer

from dmd.commands.arguments import SETS, GrowingTable, ParamsFile, require


def steps(
    params: ParamsFile,
    table: GrowingTable,
    row: Annotated[
        list[str] | None,
        typer.Option(help="`solver steps`, or `solver steps spacing`; may be given again. If none, a choice."),
    ] = None,
    guidance: Annotated[
        float | None, typer.Option(help="Guidance scale; that of the params if not given.", show_default=False)
    ] = None,
    samples: Annotated[int, typer.Option(help="Samples in each set of a row.", min=2)] = 2000,
    sets: Annotated[int, typer.Option(help="Disjoint sets of noises, for the spread.", min=1)] = SETS,
    exact: Annotated[
        int, typer.Option(help="Noises whose images by 1000 steps of DDIM the rows are held to.", min=0)
    ] = 128,
) -> None:
    """Score the teacher over solvers and numbers of steps.

    A row has the network calls, the scores, the distance to the exact solution of the ODE and the seconds an image.

    \b
    Reads   models/<system>/teacher and what `fetch` left; the stage `teacher` has run.
    Writes  the table, after each row; rows of another teacher leave it.
    Example dmd steps params.yaml steps.csv --row "unipc 8" --row "ddim 50 leading"
    """
    from dmd.commands.table import print_rows
    from dmd.commands.teacher_steps import choose, fill_table, read_setting
    from dmd.params.config import load_config
    from dmd.runtime.handed import read_json
    from dmd.runtime.places import Places

    config = load_config(params)
    scale = config.guidance_scale if guidance is None else guidance
    plans = [(read_setting(text, scale), samples, sets) for text in row or []]
    scheduler = read_json(require(Places(config.system).teacher, "teacher") / "scheduler_config.json")
    total = scheduler["num_train_timesteps"]
    print_rows(fill_table(config, table, plans or choose(config, total, scale, samples, sets, exact), exact))
