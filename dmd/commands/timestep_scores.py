"""The one-step generator before distillation over its timestep t*: one call of the teacher's network, scored."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
import typer

from dmd.commands.arguments import require
from dmd.commands.scorer import Scorer
from dmd.diffusion.generator import Generator
from dmd.models.teacher import Teacher
from dmd.params.config import Config
from dmd.runtime.places import Places


def timestep_rows(config: Config, timesteps: Sequence[int], samples: int) -> Iterator[dict[str, Any]]:
    """Scores of images drawn with one call at each timestep, over sets of `samples`, row by row.

    Raises:
        ValueError: there is no teacher yet.
        typer.BadParameter: a timestep is outside the teacher's schedule.
    """
    teacher = Teacher.load(require(Places(config.system).teacher, "teacher"))
    last = teacher.scheduler_config["num_train_timesteps"] - 1
    outside = [str(timestep) for timestep in timesteps if not 0 <= timestep <= last]
    if outside:
        raise typer.BadParameter(f"--timesteps {', '.join(outside)}: the teacher's are 0 … {last}")
    scorer = Scorer(config, samples)
    for timestep in timesteps:
        generator = Generator(teacher.denoiser, timestep).to(scorer.device)
        with torch.no_grad():
            scores = scorer.score_model(generator, f"t* = {timestep}")
        yield {"generator_timestep": timestep, **scores}
