"""`dmd recipe`: run the pipeline by a method's name."""

from pathlib import Path
from typing import Annotated

import typer

from dmd.commands.arguments import ParamsFile


def recipe(
    name: Annotated[str, typer.Argument(help="A file of recipes/, without its ending.", show_default=False)],
    params: ParamsFile = Path("params.yaml"),
    run_name: Annotated[str | None, typer.Option("--name", help="Of the experiment; else the recipe's.")] = None,
    set_param: Annotated[
        list[str] | None, typer.Option("-S", "--set-param", help="More changes, as of `dvc exp run -S`.")
    ] = None,
    temp: Annotated[bool, typer.Option(help="Run in a copy, or change the workspace's params and outputs.")] = True,
    dry: Annotated[bool, typer.Option(help="Only print the command.")] = False,
) -> None:
    """Run the pipeline by a method's name, as a DVC experiment.

    A recipe is a small file of params, which `dvc exp run` sets before it runs: what it does not name stays as in the
    params file. It runs in a copy of the workspace, so that the next recipe does not begin with the params of this one;
    `dvc exp apply` brings it here.

    \b
    Reads   recipes/<name>.yaml
    Writes  what `dvc exp run` does: an experiment
    Example dmd recipe dmd2
    """
    from dmd.commands.recipes import experiment_command, load_recipe, run_experiment

    command = experiment_command(load_recipe(name), run_name or name, set_param or [], temp)
    typer.echo(" ".join(command))
    if not dry:
        raise typer.Exit(run_experiment(command, params))
