"""A table of short distillations: every combination of some params, one row each, scored on a few thousand samples."""

from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import torch
import typer

from dmd.config import Config
from dmd.datasets import load_mnist
from dmd.features import load_features
from dmd.scores import Noises, Summary, score, summarise_model, summarise_pixels
from dmd.work import finish
from stages.distill import prepare
from tools.overrides import grid, override


def reference(config: Config) -> Summary:
    """The training images in feature space."""
    data = Path("data", config.system)
    net = load_features(data / "weights" / "features")
    return summarise_pixels(net, *load_mnist(data / "dataset", "train"), 1000, torch.device("cpu"))


def distil_and_score(config: Config, real: Summary) -> dict[str, Any]:
    """One short run from start to end; its scores by name. Nothing of it is kept."""
    run = prepare(config)
    run.run()
    distiller = run.distiller
    device = distiller.accelerator.device
    net = load_features(Path("data", config.system, "weights", "features")).to(device)
    noises = Noises(config.seed, config.evaluate.num_samples, config.dataset.image_shape, distiller.num_classes, device)
    summary, _ = summarise_model(net, distiller.generator, noises, config.evaluate.batch_size, "score")
    finish(run.work)
    return {**score(summary, real, config.evaluate.features, config.seed), "seconds": round(run.seconds, 1)}


def main(
    params: Annotated[Path, typer.Argument(help="The params file.")],
    table: Annotated[Path, typer.Argument(help="The CSV to write; rows that it has are not run again.")],
    axis: Annotated[list[str], typer.Option(help="key=value,value…; several make a grid.")],
    samples: Annotated[int, typer.Option(help="Samples a row.")] = 2000,
) -> None:
    """Distil once for each combination of the axes and write a table of scores."""
    rows: list[Any] = pd.read_csv(table).to_dict("records") if table.exists() else []
    real: Summary | None = None
    for changes in grid(axis):
        if any(all(str(row.get(key)) == str(value) for key, value in changes.items()) for row in rows):
            continue
        config = override(params, changes | {"evaluate.num_samples": samples})
        real = real or reference(config)
        rows.append(changes | distil_and_score(config, real))
        pd.DataFrame(rows).to_csv(table, index=False)
        typer.echo(pd.DataFrame(rows).to_string(index=False))


if __name__ == "__main__":
    typer.run(main)
