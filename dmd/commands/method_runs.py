"""Runs of recipes at one cost: as many updates of each as the same number of network passes buys."""

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from dmd.commands.arguments import require
from dmd.commands.overrides import override
from dmd.commands.recipes import load_recipe
from dmd.commands.scorer import Scorer
from dmd.commands.short_runs import base_hash, distilled
from dmd.commands.table import read_rows, write_rows
from dmd.distill.passes import passes_per_step
from dmd.evaluate.snapshots import snapshot_table
from dmd.params.config import Config, load_config
from dmd.runtime.files import load_tensors
from dmd.runtime.places import Places
from stages.distill import prepare

CURVE_POINTS = 6
"""Of the distance through a run."""

Row = dict[str, Any]


def compare_methods(
    params: Path, table: Path, recipes: Sequence[str], seeds: Sequence[int], passes: float, samples: int
) -> list[Row]:
    """Run each recipe with each seed, but for those that the table has; returns all of its rows.

    Raises:
        ValueError: a recipe is unknown or refused by the params, before any runs; there are no pairs yet; or the table
            has rows of another teacher, other params, passes or samples.
    """
    configs = {(name, seed): recipe_config(params, name, seed, passes, samples) for name in recipes for seed in seeds}
    require(Places(load_config(params).system).pairs, "pairs")
    curves = table.with_name(f"{table.stem}_curves.csv")
    rows, points = read_rows(table, "base"), read_rows(curves, "recipe")
    key = {"base": base_hash(load_config(params)), "asked_passes": passes, "samples": samples}
    others = [row for row in rows if any(row.get(name) != value for name, value in key.items())]
    if others:
        raise ValueError(f"{table}: has rows of another teacher, other params, passes or samples; name another table")
    for (name, seed), config in configs.items():
        if any(row["recipe"] == name and row["seed"] == seed for row in rows):
            continue
        row, curve = run_recipe(name, config, samples)
        rows.append({**row, **key})
        points += curve
        write_rows(table, rows)
        if points:
            write_rows(curves, points)
    return rows


def recipe_config(params: Path, name: str, seed: int, passes: float, samples: int) -> Config:
    """The params with a recipe and a seed, and as many updates as `passes` buy.

    Pairs stay those that are there: what a recipe says of `pairs` is left out.
    """
    recipe = {key: value for key, value in load_recipe(name).items() if not key.startswith("pairs.")}
    config = override(params, {**recipe, "seed": seed})
    steps = max(round(passes / step_passes(config)), CURVE_POINTS)
    more = {"distill.history_epochs": CURVE_POINTS, "distill.snapshot_samples": samples, "distill.steps": steps}
    return override(params, {**recipe, **more, "seed": seed, "distill.checkpoint_steps": steps})


def step_passes(config: Config) -> float:
    """What an iteration of these params costs, in forward passes of one image."""
    own = config.distill.matching.guidance_scale
    guided = (config.guidance_scale if own is None else own) != 1.0
    return passes_per_step(config.distill, regression=config.alpha > 0, guided=guided)


def run_recipe(name: str, config: Config, samples: int) -> tuple[Row, list[Row]]:
    """Distil and score: the run's row, and a row for each point of its curve; no scores where it was not finite."""
    total = config.distill.steps * step_passes(config)
    facts = {"recipe": name, "seed": config.seed, "alpha": config.alpha, "guidance_scale": config.guidance_scale}
    row = {**facts, "steps": config.distill.steps, "network_passes": total}
    prepared, began = prepare(config), time.process_time()
    with distilled(prepared) as run:
        if run is None:
            return row, []
        row["cpu_seconds"] = time.process_time() - began
        scorer = Scorer(config, samples)
        with tempfile.TemporaryDirectory() as folder:
            run.save(Path(folder))
            found = snapshot_table(scorer.setup, load_tensors(Path(folder) / "snapshots.safetensors"))
        scores = scorer.score_model(run.distiller.student.generator, name)
    curve = pd.DataFrame({"network_passes": found["step"] * step_passes(config), **found})
    points = [
        {"recipe": name, "seed": config.seed, **{str(k): v for k, v in p.items()}} for p in curve.to_dict("records")
    ]
    return {**row, "nfe": len(config.distill.generator_timesteps), **scores}, points
