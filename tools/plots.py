"""The plots in docs/results/data/plots, drawn from the tables that git keeps; `--check` only compares."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer

from dmd.params.config import load_config
from dmd.report.curves import exactness_curves, steps_curves, timesteps_curves
from dmd.report.tables import distance_key
from dmd.runtime.files import load_json
from tools.method_plots import guidance_picture, passes_picture
from tools.teacher_tables import ENOUGH

ROOT = Path(__file__).resolve().parent.parent
PARAMS = {"mnist-small": "params.yaml", "celeba": "pipelines/celeba/params.yaml"}
"""Systems whose teacher has tables, with their params."""
GREY = "#808080"
"""What the page's own ink becomes: legible on white and on near-black."""


def plots(root: Path) -> dict[Path, str]:
    """File → SVG of every system."""
    return {path: svg for system in PARAMS for path, svg in plots_of(system, root).items()}


def plots_of(system: str, root: Path) -> dict[Path, str]:
    """Distance over network calls, over seconds and over t*, the distance to the exact solution, and of methods."""
    metrics, data = root / "metrics" / system, root / "docs" / "results" / "data"
    tables, out = data / "tables" / system, data / "plots"
    key = distance_key(load_json(metrics / "metrics.json"))
    steps = pd.read_csv(metrics / "steps.csv")
    calls, seconds = steps_curves(steps[steps["num_samples"] >= ENOUGH], key).values()
    chosen = load_config(root / PARAMS[system]).distill.generator_timesteps[0]
    (timesteps,) = timesteps_curves(pd.read_csv(tables / "generator_timesteps.csv"), key, chosen).values()
    (exactness,) = exactness_curves(pd.read_csv(tables / "teacher_steps.csv")).values()
    drawn = {"calls": calls, "seconds": seconds, "timesteps": timesteps, "exactness": exactness}
    if (data / system / "methods.csv").is_file():
        drawn |= method_plots(system, data, load_json(metrics / "metrics.json"))
    return {out / f"{system}-{name}.svg": svg.replace("currentColor", GREY) for name, svg in drawn.items()}


def method_plots(system: str, data: Path, scores: Mapping[str, Any]) -> dict[str, str]:
    """Of the comparison of methods: distance over passes, and over class accuracy beside the teacher's curves.

    The curves are of both tables of the teacher: the report's, and the rows that only this comparison needs.
    """
    own = data / system
    teacher_steps = [data / "tables" / system / "teacher_steps.csv", own / "teacher_guidance.csv"]
    rows = pd.concat([pd.read_csv(path) for path in teacher_steps if path.is_file()], ignore_index=True)
    runs, longer = {"the run in git": scores["student"]}, data / "runs" / f"{system}-longer.json"
    if longer.is_file():
        runs["the longer run"] = load_json(longer)["student"]
    methods, alphas = pd.read_csv(own / "methods.csv"), pd.read_csv(own / "alpha.csv")
    return {
        "methods": passes_picture(pd.read_csv(own / "methods_curves.csv")),
        "guidance": guidance_picture(rows, methods, alphas, runs, scores["data"]["test"]),
    }


def main(check: Annotated[bool, typer.Option(help="Only say whether the plots are up to date.")] = False) -> None:
    """Write docs/results/data/plots, or compare."""
    changed = {path: svg for path, svg in plots(ROOT).items() if not path.exists() or path.read_text() != svg}
    for path, svg in changed.items():
        typer.echo(f"{path.relative_to(ROOT)}: {'is not that of its table; make tables' if check else 'written'}")
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(svg)
    raise typer.Exit(int(check and bool(changed)))


if __name__ == "__main__":
    typer.run(main)
