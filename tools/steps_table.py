"""The teacher's table: guidance, solver and steps against Fréchet distance, class accuracy and seconds an image."""

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import torch
import typer
from accelerate import Accelerator

from dmd.config import Config, load_config
from dmd.datasets import load_mnist
from dmd.denoiser import BaseDenoiser, with_guidance
from dmd.features import load_features
from dmd.sampler import count_nfe, sample
from dmd.scores import Noises, Summary, score, summarise_model, summarise_pixels
from dmd.teacher import Teacher
from dmd.types import Images, Labels

Row = dict[str, Any]


def draw(denoiser: BaseDenoiser, solver: tuple[Any, ...], z: Images, labels: Labels | None) -> Images:
    """`dmd.sampler.sample` with the noise last."""
    return sample(denoiser, z, labels, *solver)


class Bench:
    """A teacher, a feature net and the real images' moments, to score one row after the other."""

    def __init__(self, config: Config, teacher: Path, samples: int) -> None:
        """Load the teacher's folder; `samples` from the evaluation's noises are drawn for each row."""
        self.config, self.device = config, Accelerator().device
        data = Path("data", config.system)
        self.teacher = Teacher.load(teacher)
        self.net = load_features(data / "weights" / "features").to(self.device)
        self.real: Summary = summarise_pixels(self.net, *load_mnist(data / "dataset", "train"), 1000, self.device)
        shape, classes = config.dataset.image_shape, config.dataset.num_classes
        self.noises = Noises(config.seed, samples, shape, classes, self.device)

    def row(self, guidance: float, solver: str, num_steps: int, spacing: str) -> Row:
        """Scores of the teacher with these settings."""
        config, scheduler = self.config, self.teacher.scheduler_config
        denoiser = with_guidance(self.teacher.denoiser, guidance, config.dataset.num_classes).to(self.device)
        model = partial(draw, denoiser, (scheduler, solver, num_steps, spacing))
        title = f"{solver} {num_steps}, guidance {guidance:g}"
        summary, seconds = summarise_model(self.net, model, self.noises, config.evaluate.batch_size, title)
        scores = score(summary, self.real, config.evaluate.features, config.seed)
        kept = {name: value for name, value in scores.items() if not name.endswith("error")}
        return {"nfe": count_nfe(scheduler, solver, num_steps, spacing), **kept, "seconds_per_image": seconds}


def main(
    params: Annotated[Path, typer.Argument(help="The params file; its teacher stage has run.")],
    table: Annotated[Path, typer.Argument(help="The CSV to write; rows that it has are not run again.")],
    solvers: Annotated[str, typer.Option(help="Solvers, with commas.")] = "ddim",
    steps: Annotated[str, typer.Option(help="Numbers of steps, with commas.")] = "5,10,20,50,100,1000",
    spacing: Annotated[str, typer.Option(help="Timestep spacing.")] = "trailing",
    guidance: Annotated[str, typer.Option(help="Guidance scales, with commas.")] = "1.0",
    samples: Annotated[int, typer.Option(help="Samples a row.")] = 2000,
    folder: Annotated[Path | None, typer.Option(help="The teacher's folder; the stage's output if not given.")] = None,
) -> None:
    """Sample the teacher with each combination and write a table of scores."""
    config = load_config(params)
    bench = Bench(config, folder or Path("models", config.system, "teacher"), samples)
    rows: list[Any] = pd.read_csv(table).to_dict("records") if table.exists() else []
    for scale in (float(value) for value in guidance.split(",")):
        for number in (int(value) for value in steps.split(",")):
            for solver in solvers.split(","):
                key = {"guidance_scale": scale, "solver": solver, "num_steps": number, "timestep_spacing": spacing}
                if any(all(row[k] == v for k, v in {**key, "num_samples": samples}.items()) for row in rows):
                    continue
                with torch.no_grad():
                    rows.append({**key, **bench.row(scale, solver, number, spacing)})
                table.parent.mkdir(parents=True, exist_ok=True)
                pd.DataFrame(rows).to_csv(table, index=False, float_format="%.6g")
    typer.echo(pd.DataFrame(rows).to_string(index=False))


if __name__ == "__main__":
    typer.run(main)
