"""The teacher's table: guidance, solver and steps against scores, seconds an image and distance to the exact ODE."""

from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import pandas as pd
import torch
import typer

from dmd.checkpoint import load_tensors, save_tensors
from dmd.config import Config, load_config
from dmd.denoiser import with_guidance
from dmd.latency import TimedModel
from dmd.progress import track
from dmd.sampler import count_nfe, sample
from dmd.summaries import summarise
from dmd.teacher import Teacher
from dmd.types import Images, Labels
from dmd.work import work_folder
from tools.scorer import Scorer

Row = dict[str, Any]


class Setting(NamedTuple):
    """One way to draw from the teacher."""

    guidance_scale: float
    solver: str
    num_steps: int
    timestep_spacing: str


class Bench:
    """A teacher and its scorer, for one setting after the other."""

    def __init__(self, config: Config, teacher: Path, samples: int) -> None:
        """Load the teacher's folder; `samples` from the evaluation's noises are drawn for each row."""
        self.config, self.scorer = config, Scorer(config, samples)
        self.teacher = Teacher.load(teacher)
        self.work = work_folder("steps_table", [teacher], {"seed": config.seed})
        self.work.mkdir(parents=True, exist_ok=True)

    def _solve(self, setting: Setting, z: Images, labels: Labels | None) -> Images:
        denoiser = with_guidance(self.teacher.denoiser, setting.guidance_scale, self.config.dataset.num_classes)
        return sample(denoiser.to(self.scorer.device), z, labels, self.teacher.scheduler_config, *setting[1:])

    def draw(self, setting: Setting) -> tuple[Images, Labels | None, float]:
        """All samples with these settings, their labels, and the seconds an image; the first batch is drawn twice."""
        size, noises = self.scorer.batch_size, self.scorer.noises
        timed = TimedModel(partial(self._solve, setting), self.scorer.device)
        timed.model(*noises.batch(0, size))
        title = f"{setting.solver} {setting.num_steps}, guidance {setting.guidance_scale:g}"
        parts = [
            (timed(z, labels).clamp(-1, 1), labels)
            for z, labels in track(noises.batches(size), title, total=-(-noises.count // size), unit="batch")
        ]
        labels = None if parts[0][1] is None else torch.cat([part[1] for part in parts if part[1] is not None])
        return torch.cat([part[0] for part in parts]), labels, timed.seconds_per_image

    def _reference(self, setting: Setting) -> Path:
        return self.work / f"{setting.solver}-{setting.num_steps}-{setting.guidance_scale:g}.safetensors"

    def distance(self, images: Images, setting: Setting) -> float | None:
        """Root mean squared pixel difference, noise by noise, to a reference's images; none where it was not drawn.

        A reference that has fewer samples is compared over those.
        """
        path = self._reference(setting)
        if not path.exists():
            return None
        exact = load_tensors(path)["images"].to(images.device)
        count = min(len(exact), len(images))
        return float((images[:count] - exact[:count]).square().mean().sqrt())

    def row(self, setting: Setting, reference: Setting) -> Row:
        """Scores of the teacher with these settings; images of the reference itself are kept for the other rows."""
        images, labels, seconds = self.draw(setting)
        if setting == reference:
            save_tensors(self._reference(setting), {"images": images})
        size = self.scorer.batch_size
        batches = zip(images.split(size), [None] * len(images) if labels is None else labels.split(size), strict=False)
        scores = self.scorer.score(summarise(self.scorer.net, batches, len(images)))
        distance = {f"rmse_to_{reference.solver}_{reference.num_steps}": self.distance(images, reference)}
        nfe = count_nfe(self.teacher.scheduler_config, *setting[1:])
        return {"nfe": nfe, **scores, **distance, "seconds_per_image": seconds}


def main(
    params: Annotated[Path, typer.Argument(help="The params file; its teacher stage has run.")],
    table: Annotated[Path, typer.Argument(help="The CSV to write; rows that it has are not run again.")],
    solvers: Annotated[str, typer.Option(help="Solvers, with commas.")] = "ddim",
    steps: Annotated[str, typer.Option(help="Numbers of steps, with commas.")] = "1000,5,10,20,50,100",
    spacing: Annotated[str, typer.Option(help="Timestep spacing.")] = "trailing",
    guidance: Annotated[str, typer.Option(help="Guidance scales, with commas.")] = "1.0",
    samples: Annotated[int, typer.Option(help="Samples a row.")] = 2000,
    reference_steps: Annotated[int, typer.Option(help="DDIM steps of the images that rows are compared with.")] = 1000,
    folder: Annotated[Path | None, typer.Option(help="The teacher's folder; the stage's output if not given.")] = None,
) -> None:
    """Sample the teacher with each combination and write a table of scores."""
    config = load_config(params)
    bench = Bench(config, folder or Path("models", config.system, "teacher"), samples)
    rows: list[Any] = pd.read_csv(table).to_dict("records") if table.exists() else []
    for scale in (float(value) for value in guidance.split(",")):
        reference = Setting(scale, "ddim", reference_steps, "trailing")
        for number in (int(value) for value in steps.split(",")):
            for solver in solvers.split(","):
                setting = Setting(scale, solver, number, spacing)
                key = setting._asdict() | {"num_samples": samples}
                if any(all(row[k] == v for k, v in key.items()) for row in rows):
                    continue
                with torch.no_grad():
                    rows.append({**setting._asdict(), **bench.row(setting, reference)})
                table.parent.mkdir(parents=True, exist_ok=True)
                pd.DataFrame(rows).to_csv(table, index=False, float_format="%.6g")
    typer.echo(pd.DataFrame(rows).to_string(index=False))


if __name__ == "__main__":
    typer.run(main)
