"""The plots in docs/plots, drawn from the tables that git keeps; `--check` only compares."""

from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from dmd.checkpoint import load_json
from dmd.config import load_config
from dmd.curves import exactness_curves, steps_curves, timesteps_curves
from dmd.tables import distance_key

ROOT = Path(__file__).resolve().parent.parent
SYSTEM = "mnist-small"
GREY = "#808080"
"""What the page's own ink becomes: legible on white and on near-black."""


def plots(root: Path) -> dict[Path, str]:
    """File → SVG: distance over network calls and over t*, and the distance to the exact solution."""
    metrics, tables, out = root / "metrics" / SYSTEM, root / "docs" / "tables" / SYSTEM, root / "docs" / "plots"
    key = distance_key(load_json(metrics / "metrics.json"))
    calls, seconds = steps_curves(pd.read_csv(metrics / "steps.csv"), key).values()
    chosen = load_config(root / "params.yaml").distill.generator_timestep
    (timesteps,) = timesteps_curves(pd.read_csv(tables / "generator_timesteps.csv"), key, chosen).values()
    (exactness,) = exactness_curves(pd.read_csv(tables / "teacher_steps.csv")).values()
    drawn = {"calls": calls, "seconds": seconds, "timesteps": timesteps, "exactness": exactness}
    return {out / f"{SYSTEM}-{name}.svg": svg.replace("currentColor", GREY) for name, svg in drawn.items()}


def main(check: Annotated[bool, typer.Option(help="Only say whether the plots are up to date.")] = False) -> None:
    """Write docs/plots, or compare."""
    changed = {path: svg for path, svg in plots(ROOT).items() if not path.exists() or path.read_text() != svg}
    for path, svg in changed.items():
        typer.echo(f"{path.relative_to(ROOT)}: {'is not that of its table; make tables' if check else 'written'}")
        if not check:
            path.parent.mkdir(exist_ok=True)
            path.write_text(svg)
    raise typer.Exit(int(check and bool(changed)))


if __name__ == "__main__":
    typer.run(main)
