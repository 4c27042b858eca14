"""The one-step generator before distillation over its timestep t*: one call of the teacher's network, scored.

The choice of `distill.generator_timestep` begins here; what distillation makes of it, `tools.sweep` shows.
"""

from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import torch
import typer
from accelerate import Accelerator

from dmd.config import load_config
from dmd.datasets import load_dataset
from dmd.features import load_features
from dmd.generator import OneStepGenerator
from dmd.noises import Noises
from dmd.scores import distance_name, score
from dmd.summaries import summarise_model, summarise_pixels
from dmd.teacher import Teacher


def main(
    params: Annotated[Path, typer.Argument(help="The params file; its teacher stage has run.")],
    table: Annotated[Path, typer.Argument(help="The CSV to write.")],
    timesteps: Annotated[str, typer.Option(help="Values of t*, with commas.")] = "200,300,400,500,600,700,800,900,999",
    samples: Annotated[int, typer.Option(help="Samples a row, from the evaluation's noises.")] = 2000,
) -> None:
    """Draw with one call at each timestep and write a table of scores."""
    config, device = load_config(params), Accelerator().device
    data, size, features = Path("data", config.system), config.evaluate.batch_size, config.evaluate.features
    denoiser = Teacher.load(Path("models", config.system, "teacher")).denoiser
    net = load_features(data / "weights" / "features").to(device)
    real = summarise_pixels(net, *load_dataset(config.dataset.name, data / "dataset", "train"), size, device)
    noises = Noises(config.seed, samples, config.dataset.image_shape, config.dataset.num_classes, device)
    names = (distance_name(features), f"kid_{features}", "precision", "recall", "class_accuracy", "num_samples")
    rows: list[dict[str, Any]] = []
    for timestep in (int(value) for value in timesteps.split(",")):
        generator = OneStepGenerator(denoiser, timestep).to(device)
        with torch.no_grad():
            summary = summarise_model(net, generator, noises, size, f"t* = {timestep}")
        scores = score(summary, real, features, config.seed)
        rows.append({"generator_timestep": timestep, **{name: scores[name] for name in names if name in scores}})
    table.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(table, index=False, float_format="%.6g")
    typer.echo(pd.DataFrame(rows).to_string(index=False))


if __name__ == "__main__":
    typer.run(main)
