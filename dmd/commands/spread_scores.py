"""How sure a score's spread is: the student scored with several seeds, each its own sets, beside all sets together.

An evaluation reports the standard deviation over its few sets of noises; the true one is that over many more. The last
column is the first ÷ the second.
"""

from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import torch
import typer

from dmd.commands.scorer import Scorer
from dmd.evaluate.noises import Noises
from dmd.evaluate.scores import distance_name, over_sets
from dmd.models.pipeline import load_generator
from dmd.params.config import load_config


def main(
    params: Annotated[Path, typer.Argument(help="The params file; its distill stage has run.")],
    table: Annotated[Path, typer.Argument(help="The CSV to write.")],
    seeds: Annotated[int, typer.Option(help="Evaluations, each with a seed of its own.", min=2)] = 3,
) -> None:
    """Score the generator again and again, with the params' sets and samples a set, and write a table."""
    config = load_config(params)
    settings, shape = config.evaluate, config.dataset.image_shape
    scorer = Scorer(config, settings.num_samples)
    generator = load_generator(Path("models", config.system, "generator")).to(scorer.device)
    name = distance_name(settings.features)
    sets: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    for seed in range(config.seed + 1, config.seed + 1 + seeds):
        noises = Noises(seed, settings.num_samples, shape, config.dataset.num_classes, scorer.device)
        with torch.no_grad():
            found = scorer.score_sets(generator, f"seed {seed}", noises, settings.num_sets)
        sets += found
        rows.append({"seed": str(seed), **over_sets(found)})
    rows.append({"seed": "all", **over_sets(sets)})
    columns = ["seed", name, f"{name}_std", "num_sets", "num_samples"]
    frame = pd.DataFrame(rows)[columns]
    frame["over_all"] = frame[f"{name}_std"] / frame[f"{name}_std"].iloc[-1]
    table.parent.mkdir(parents=True, exist_ok=True)
    frame.to_csv(table, index=False, float_format="%.6g")
    typer.echo(frame.to_string(index=False))


if __name__ == "__main__":
    typer.run(main)
