"""Settings of a distillation that are good to begin with: those of the system mnist-small."""

from collections.abc import Mapping
from typing import Any

import torch
from pydantic import ValidationError

from dmd.library.teacher import OwnTeacher
from dmd.params.distill import Distill

ALPHA = 0.25
"""Weight of the regression on pairs."""

START_NOISE = 3.45
"""The network is called once at about this sigma / alpha: much noise, and yet not all, where it sees the image."""

DEFAULTS: Mapping[str, Any] = {
    "steps": 600,
    "batch_size": 16,
    "pairs_batch_size": 16,
    "matching": {"loss": "dmd", "noise": [0.02, 6]},
    "discriminator": {},
    "learning_rate_generator": 5.0e-4,
    "learning_rate_fake": 1.0e-3,
    "learning_rate_schedule": "cosine",
    "betas": [0.9, 0.999],
    "weight_decay": 0.01,
    "warmup_steps": 20,
    "max_grad_norm": 10.0,
    "num_fake_updates": 3,
    "fake_warmup_updates": 0,
    "fake_noise": [0.02, 6],
    "ema_decay": 0.98,
    "perceptual": {"name": "pixel"},
    "history_epochs": 1,
    "health_steps": 20,
    "checkpoint_steps": 100,
}
"""As the section `distill` of params.yaml, without what follows from the teacher; its real score is guided as the pairs
are."""


def default_settings(teacher: OwnTeacher, **changes: Any) -> Distill:
    """The settings for a teacher, with these keys changed; `dmd.params.distill.Distill` says what each is.

    `matching`, `discriminator` and `perceptual` are dictionaries, which change the keys that they have.

    Raises:
        ValueError: a key is not known, or a value out of bounds or at odds with another; names it.
    """
    values = {**DEFAULTS, "generator_timesteps": [start_timestep(teacher)]}
    values["perceptual"] = {**values["perceptual"], "resolution": teacher.image_shape[1]}
    for key, value in changes.items():
        nested = isinstance(value, dict) and isinstance(values.get(key), dict)
        values[key] = {**values[key], **value} if nested else value
    try:
        return Distill.model_validate(values)
    except ValidationError as error:
        told = (
            f"{'.'.join(map(str, item['loc']))} {item['msg'].removeprefix('Value error, ')}" for item in error.errors()
        )
        raise ValueError("; ".join(text.strip() for text in told)) from error


def start_timestep(teacher: OwnTeacher) -> int:
    """t*: the last timestep whose sigma / alpha is at most `START_NOISE`."""
    levels = teacher.schedule.noise_to_signal()
    return max(int(torch.searchsorted(levels, START_NOISE, right=True)) - 1, 0)
