"""`dmd compare`: runs beside each other."""

from pathlib import Path
from typing import Annotated

import typer


def compare(
    revisions: Annotated[
        list[str], typer.Argument(help="Git revisions, DVC experiments, `workspace`.", show_default=False)
    ],
    params: Annotated[Path, typer.Option(help="The system's params file.")] = Path("params.yaml"),
    model: Annotated[str, typer.Option(help="Whose scores: student, student_before, teacher, data.test.")] = "student",
    level: Annotated[float, typer.Option(help="Level below which a difference is marked.", min=0, max=1)] = 0.05,
    out: Annotated[
        Path | None, typer.Option(help="Write OUT.md, OUT.csv and OUT-params.csv too.", show_default=False)
    ] = None,
) -> None:
    """Compare runs: params, scores, and how sure a difference is.

    Each run is held against the first: does a score differ by more than its spread over sets of noises? Welch's test.

    \b
    Reads   params.yaml and metrics/<system>/metrics.json of each revision, through DVC.
    Writes  nothing; with --out a page and two tables.
    Example dmd compare main exp-name workspace --out comparison
    """
    from dmd.commands.comparison import load_run, markdown, params_table, scores_table, write_tables
    from dmd.params.config import load_config

    names = list(dict.fromkeys(revisions))
    if len(names) < 2:
        raise typer.BadParameter("name at least two different runs; `workspace` is one")
    system = load_config(params).system
    runs = [load_run(name, params.as_posix(), system, model) for name in names]
    differing, scores = params_table(runs), scores_table(runs)
    text = markdown(differing, scores, level)
    typer.echo(text)
    if out is not None:
        write_tables(out, text, differing, scores)
