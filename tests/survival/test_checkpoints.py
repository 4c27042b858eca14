"""Configs of checkpoints with one key that is odd: refused on the configs alone, or used as diffusers uses them."""

import inspect
import json
import random
from collections import Counter
from itertools import chain
from typing import Any

import diffusers
import pytest
import torch
from diffusers import CMStochasticIterativeScheduler, DDPMScheduler, EDMEulerScheduler, SchedulerMixin

from dmd.models.backbones import BACKBONES
from dmd.models.compatibility import OTHER_BETAS, SCHEDULE_KEYS, check_agreement, training_schedule
from dmd.params.backbone import CelebA, TeaPearce, UNet2D
from dmd.teacher.network import build_backbone
from tests.survival.figures import keep

SCHEDULE = {
    "num_train_timesteps": 400,
    "beta_schedule": "linear",
    "beta_start": 1e-4,
    "beta_end": 2e-2,
    "prediction_type": "epsilon",
}
UNET = UNet2D(
    kind="unet2d", block_out_channels=(8, 16), layers_per_block=1, attention_resolutions=(8,), norm_num_groups=4
)
SYSTEMS: dict[str, tuple[Any, tuple[int, int, int], int | None]] = {
    "UNet2DModel": (UNET, (1, 8, 8), 4),
    "TeaPearceUNet": (TeaPearce(kind="teapearce", width=8), (1, 28, 28), 10),
    "CelebAUNet": (CelebA(kind="celeba", width=8, time_width=8), (3, 8, 8), None),
}
SCHEDULERS = ("DDPMScheduler", "DDIMScheduler", "PNDMScheduler", "EulerDiscreteScheduler", "UniPCMultistepScheduler")
ODD: dict[str, tuple[Any, ...]] = {
    "null": (None,),
    "text": ("", "text", "1", "0.01", "true", "linear", "learned", "conv"),
    "list": ([], [1], [8, 16], ["a", "b"], [None, None], [0.1, 0.2], [[1]]),
    "float": (0.0, 0.37, 1.0, 8.0, 400.0, 1e-4),
    "out of range": (-1, 0, 10**6 + 1, 2**31, -0.5, 1e308, 1e-300, float("nan"), float("inf"), 0.99, True, 10**30),
    "absent": (),
}


def one(number: int) -> tuple[str, str, dict[str, Any], dict[str, Any], str]:
    """The configs of a network and its scheduler with one key changed: class, file, configs and key."""
    rng = random.Random(number)
    name = rng.choice(("UNet2DModel", *SYSTEMS))  # which has most of the keys
    settings, shape, classes = SYSTEMS[name]
    with torch.device("meta"):
        made = build_backbone(settings.model_dump(), SCHEDULE, shape, None if classes is None else classes + 1)
    config = {"_class_name": name, **json.loads(made.to_json_string())}
    scheduler = {"_class_name": rng.choice(SCHEDULERS), **SCHEDULE}
    file, changed = rng.choice((("config.json", config), ("scheduler_config.json", scheduler)))
    kind = BACKBONES[name] if changed is config else getattr(diffusers, scheduler["_class_name"])
    keys = ["_class_name", *inspect.signature(kind).parameters]
    key, odd = rng.choice(keys), rng.choice(list(ODD))
    if odd == "absent":
        changed.pop(key, None)
    else:
        changed[key] = rng.choice(ODD[odd])
    return name, file, config, scheduler, key


def check_used(config: dict[str, Any], scheduler: dict[str, Any], system: str) -> None:
    """The betas are those of diffusers' own scheduler; the network gives finite images at both ends of the schedule."""
    own = {key: scheduler[key] for key in (*SCHEDULE_KEYS, *OTHER_BETAS) if key in scheduler}
    numbers = {key: float(value) if key in ("beta_start", "beta_end") else value for key, value in own.items()}
    if system == "TeaPearceUNet":
        numbers.pop("trained_betas", None)
    kind: type[SchedulerMixin] = getattr(diffusers, scheduler.get("_class_name", "DDPMScheduler"))
    found, wanted = training_schedule({**scheduler, "trained_betas": None}), kind.from_config(numbers)
    assert torch.equal(DDPMScheduler.from_config(found).betas, wanted.betas)
    assert found["prediction_type"] == wanted.config.prediction_type
    _, shape, classes = SYSTEMS[system]
    torch.manual_seed(0)
    network = BACKBONES[system].from_config(config).eval()
    steps = torch.tensor([0, found["num_train_timesteps"] - 1])
    with torch.no_grad():
        images = network(torch.randn(2, *shape), steps, class_labels=None if classes is None else steps % 2).sample
    assert images.shape == (2, *shape)
    assert bool(images.isfinite().all())


def try_configs(number: int) -> dict[str, int]:
    """Try so many configs; how many were used and refused. Any other end is an error."""
    ends = Counter(used=0, refused=0)
    for seed in range(number):
        system, file, config, scheduler, key = one(seed)
        _, shape, classes = SYSTEMS[system]
        try:
            check_agreement(config, scheduler, None, shape, classes)
        except ValueError as error:
            said = str(error)
            assert key in said, (seed, key, said)
            assert file in said or "teacher.schedule" in said, (seed, file, said)
            ends["refused"] += 1
        else:
            check_used(config, scheduler, system)
            ends["used"] += 1
    return dict(ends)


def test_the_unchanged_configs_are_used() -> None:
    for system, (settings, shape, classes) in SYSTEMS.items():
        made = build_backbone(settings.model_dump(), SCHEDULE, shape, None if classes is None else classes + 1)
        config = {"_class_name": system, **made.config}
        check_agreement(config, SCHEDULE, None, shape, classes)
        check_used(config, SCHEDULE, system)


@pytest.mark.parametrize("kind", [EDMEulerScheduler, CMStochasticIterativeScheduler])
def test_odd_levels_of_an_edm_scheduler_are_refused_by_file_and_key_or_taken(kind: Any) -> None:
    described = {"_class_name": kind.__name__, "sigma_min": 0.0 if "Iterative" in kind.__name__ else 0.002}
    taken = 0
    for key in ("sigma_max", "sigma_data", "rho"):
        for value in chain(*ODD.values()):
            try:
                found = training_schedule({**described, key: value})
            except ValueError as error:
                assert str(error).startswith("scheduler_config.json: "), (key, value)  # noqa: PT017
                assert key in str(error), (key, value)  # noqa: PT017
            else:
                assert found[key] == float(value)
                taken += 1
    assert taken > 9


def test_a_hundred_odd_configs_are_refused_or_used() -> None:
    ends = try_configs(120)
    assert min(ends.values()) > 12


@pytest.mark.slow
def test_two_thousand_odd_configs_are_refused_or_used() -> None:
    ends = try_configs(2_000)
    keep(configs={"total": 2_000, **ends})
    assert min(ends.values()) > 200
