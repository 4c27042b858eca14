"""A one-step generator with EDM's preconditioning on disk: a stock `ConsistencyModelPipeline`.

Consistency models scale input and output as EDM does, but for a boundary at the least noise (Song et al. 2023, app. C);
with `sigma_min` 0 that boundary is gone. `sigma_max` is sigma*, the noise level of the one step: the pipeline
multiplies noise of N(0, I) with it and tells the network 250 ln sigma*.
"""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import CMStochasticIterativeScheduler, ConsistencyModelPipeline, ModelMixin

from dmd.diffusion.denoiser import Denoiser
from dmd.diffusion.generator import Generator
from dmd.diffusion.schedule import NoiseSchedule
from dmd.models.backbones import load_backbone
from dmd.models.karras import TIME_SCALES, noise_table
from dmd.runtime.handed import read_json

SCHEDULER = CMStochasticIterativeScheduler.__name__

ONE_STEP = 2
"""Levels in the scheduler of a generator, sigma* and the end; a teacher's has more."""


def build_edm_pipeline(
    backbone: ModelMixin, scheduler_config: Mapping[str, Any], timesteps: Sequence[int]
) -> ConsistencyModelPipeline:
    """The pipeline of a generator that calls `backbone` once, at `timesteps[0]` of the teacher's schedule.

    Raises:
        ValueError: t* is outside the schedule, or there are several timesteps.
    """
    schedule = noise_table(scheduler_config)
    if len(timesteps) != 1 or not 0 <= timesteps[0] < schedule.num_timesteps:
        raise ValueError(
            f"generator_timesteps {list(timesteps)}: a generator with EDM's preconditioning has one, inside the "
            f"schedule: 0 … {schedule.num_timesteps - 1}"
        )
    t = torch.tensor(timesteps)
    if scheduler_config["time_scale"] != TIME_SCALES[SCHEDULER]:
        backbone = hold_time(backbone, schedule.time(t))
    scheduler = CMStochasticIterativeScheduler(
        num_train_timesteps=ONE_STEP,
        sigma_min=0.0,
        sigma_max=schedule.sigma(t).item(),
        sigma_data=scheduler_config["sigma_data"],
        clip_denoised=False,
    )
    return ConsistencyModelPipeline(backbone, scheduler)


def hold_time(backbone: ModelMixin, time: torch.Tensor) -> ModelMixin:
    """A copy of a `UNet2DModel` that takes any time for `time`: the first layer's product with it becomes its bias."""
    held: Any = copy.deepcopy(backbone)
    layer = held.time_embedding.linear_1
    with torch.no_grad():
        layer.bias.copy_(layer(held.time_proj(time.to(layer.weight.device)))[0])
        layer.weight.zero_()
    return held


def is_edm_scheduler(folder: Path) -> bool:
    """Whether a generator's `scheduler/` is of this file's pipelines."""
    return read_json(folder / "scheduler_config.json").get("_class_name") == SCHEDULER


def is_one_step(scheduler_config: Mapping[str, Any]) -> bool:
    """Whether a scheduler's config is of a generator of this file, not of an EDM teacher."""
    return scheduler_config.get("_class_name") == SCHEDULER and scheduler_config.get("num_train_timesteps") == ONE_STEP


def load_edm_generator(folder: Path) -> Generator:
    """The generator of a folder with a pipeline of `build_edm_pipeline`: its schedule has the one level sigma*."""
    config = CMStochasticIterativeScheduler.from_pretrained(folder / "scheduler").config
    sigma = torch.tensor([config.sigma_max], dtype=torch.float64)
    schedule = NoiseSchedule(torch.ones_like(sigma), sigma, TIME_SCALES[SCHEDULER])
    return Generator(Denoiser(load_backbone(folder / "unet"), schedule, "edm", config.sigma_data), 0)
