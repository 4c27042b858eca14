"""The teacher's table: solver and steps against Fréchet distance, class accuracy and seconds an image."""

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer
from accelerate import Accelerator

from dmd.config import load_config
from dmd.datasets import load_mnist
from dmd.denoiser import BaseDenoiser, with_guidance
from dmd.features import load_features
from dmd.sampler import count_nfe, sample
from dmd.scores import Noises, score, summarise_model, summarise_pixels
from dmd.teacher import Teacher
from dmd.types import Images, Labels


def main(
    params: Annotated[Path, typer.Argument(help="The params file; its teacher stage has run.")],
    table: Annotated[Path, typer.Argument(help="The CSV to write; rows that it has are not run again.")],
    solvers: Annotated[str, typer.Option(help="Solvers, with commas.")] = "ddim",
    steps: Annotated[str, typer.Option(help="Numbers of steps, with commas.")] = "5,10,20,50,100,1000",
    spacings: Annotated[str, typer.Option(help="Timestep spacings, with commas.")] = "trailing",
    guidance: Annotated[str, typer.Option(help="Guidance scales, with commas.")] = "1.0",
    samples: Annotated[int, typer.Option(help="Samples a row.")] = 2000,
) -> None:
    """Sample the teacher with each combination and write a table of scores."""
    config, device = load_config(params), Accelerator().device
    data, classes = Path("data", config.system), config.dataset.num_classes
    teacher, net = Teacher.load(Path("models", config.system, "teacher")), load_features(data / "weights" / "features")
    real = summarise_pixels(net.to(device), *load_mnist(data / "dataset", "train"), 1000, device)
    noises = Noises(config.seed, samples, config.dataset.image_shape, classes, device)
    rows: list[Any] = pd.read_csv(table).to_dict("records") if table.exists() else []
    for scale in (float(value) for value in guidance.split(",")):
        denoiser = with_guidance(teacher.denoiser, scale, classes).to(device)
        for row in _combinations(solvers, steps, spacings):
            key: dict[str, Any] = {"guidance_scale": scale, **row, "num_samples": samples}
            if any(all(str(old[name]) == str(value) for name, value in key.items()) for old in rows):
                continue
            solver = teacher.scheduler_config, row["solver"], row["num_steps"], row["timestep_spacing"]
            model = partial(draw, denoiser, solver)
            summary, seconds = summarise_model(net, model, noises, config.evaluate.batch_size, str(row))
            scores = score(summary, real, config.evaluate.features, config.seed)
            rows.append({**key, "nfe": count_nfe(*solver), **scores, "seconds_per_image": seconds})
            pd.DataFrame(rows).to_csv(table, index=False)
    typer.echo(pd.DataFrame(rows).to_string(index=False))


def draw(denoiser: BaseDenoiser, solver: tuple[Any, ...], z: Images, labels: Labels | None) -> Images:
    """`dmd.sampler.sample` with the noise last."""
    return sample(denoiser, z, labels, *solver)


def _combinations(solvers: str, steps: str, spacings: str) -> list[dict[str, Any]]:
    return [
        {"solver": solver, "num_steps": int(number), "timestep_spacing": spacing}
        for spacing in spacings.split(",")
        for number in steps.split(",")
        for solver in solvers.split(",")
    ]


if __name__ == "__main__":
    typer.run(main)
