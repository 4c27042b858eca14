"""Params and checkpoint agree, or the sentence names key, both values and the cure."""

from typing import Any

import diffusers
import pytest
import torch
from diffusers import DDPMScheduler

from dmd.models.compatibility import SCHEDULE_KEYS, check_agreement, training_schedule
from dmd.teacher.scheduler import canonical_scheduler

SCHEDULE = {
    "num_train_timesteps": 400,
    "beta_schedule": "linear",
    "beta_start": 1e-4,
    "beta_end": 2e-2,
    "prediction_type": "epsilon",
}
SHAPE = (1, 8, 8)


def network(embeds: int | None = 5, **changes: Any) -> dict[str, Any]:
    config = {"_class_name": "UNet2DModel", "in_channels": 1, "out_channels": 1, "sample_size": 8}
    config |= {"block_out_channels": [8, 8], "norm_num_groups": 4, "down_block_types": ["DownBlock2D"] * 2}
    config |= {"up_block_types": ["UpBlock2D"] * 2}
    return {**config, "num_class_embeds": embeds, **changes}


def refusal(*arguments: Any) -> str:
    with pytest.raises(ValueError, match=r"teacher\.|dataset\.") as error:
        check_agreement(*arguments)
    return str(error.value)


@pytest.mark.parametrize(("embeds", "classes"), [(None, None), (4, 4), (5, 4)])
@pytest.mark.parametrize("size", [8, [8, 8], (8, 8), None])
@pytest.mark.parametrize("schedule", [SCHEDULE, None])
def test_what_fits_passes(embeds: int | None, classes: int | None, size: Any, schedule: Any) -> None:
    check_agreement(network(embeds, sample_size=size), SCHEDULE, schedule, SHAPE, classes)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("num_train_timesteps", 1000),
        ("beta_schedule", "scaled_linear"),
        ("beta_start", 2e-4),
        ("beta_end", 1e-2),
        ("prediction_type", "sample"),
    ],
)
def test_another_schedule_is_refused_with_both_values(key: str, value: Any) -> None:
    message = refusal(network(), SCHEDULE, {**SCHEDULE, key: value}, SHAPE, 4)
    assert message.startswith(f"teacher.schedule.{key} is {value!r}, but the checkpoint was trained with")
    assert repr(SCHEDULE[key]) in message
    assert "correct the params" in message


def test_the_cosine_schedule_follows_from_its_length_alone() -> None:
    cosine = {**SCHEDULE, "beta_schedule": "squaredcos_cap_v2"}
    check_agreement(network(), cosine, {**cosine, "beta_start": 0.5, "beta_end": 0.5}, SHAPE, 4)
    betas = [DDPMScheduler(400, start, end, "squaredcos_cap_v2").betas for start, end in ((1e-4, 2e-2), (0.5, 0.5))]
    assert torch.equal(*betas)


@pytest.mark.parametrize(
    ("key", "value", "parts"),
    [
        ("in_channels", 3, ["in_channels is 3", "dataset.image_shape [1, 8, 8] needs 1"]),
        ("out_channels", 2, ["out_channels is 2", "needs 1"]),
        ("sample_size", 28, ["sample_size is 28", "needs 8 or [8, 8]"]),
        ("sample_size", [8, 16], ["sample_size is [8, 16]"]),
        ("class_embed_type", "timestep", ["class_embed_type is timestep", "needs None"]),
        ("_class_name", "UNet2DConditionModel", ["_class_name is UNet2DConditionModel", "needs UNet2DModel"]),
        ("num_class_embeds", 10, ["num_class_embeds is 10", "dataset.num_classes 4 needs 5 or 4"]),
        ("num_class_embeds", None, ["num_class_embeds is None", "needs 5 or 4"]),
    ],
)
def test_another_network_is_refused(key: str, value: Any, parts: list[str]) -> None:
    message = refusal(network(**{key: value}), SCHEDULE, SCHEDULE, SHAPE, 4)
    assert all(part in message for part in [*parts, "set teacher.source"]), message


def test_labels_need_a_network_with_classes_and_the_other_way_round() -> None:
    assert "num_class_embeds is 5, but dataset.num_classes None needs None" in refusal(
        network(), SCHEDULE, None, SHAPE, None
    )


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"_class_name": "ScoreSdeVeScheduler"}, ["_class_name", "'ScoreSdeVeScheduler'", "variance-preserving"]),
        ({"_class_name": "FlowMatchEulerDiscreteScheduler"}, ["'FlowMatchEulerDiscreteScheduler'"]),
        ({"_class_name": "__name__"}, ["'__name__'"]),
        ({"_class_name": 3}, ["3"]),
        ({"trained_betas": [0.1, 0.2]}, ["trained_betas is [0.1, 0.2]"]),
        ({"trained_betas": []}, ["trained_betas is []"]),
        ({"_class_name": "DDIMScheduler", "rescale_betas_zero_snr": True}, ["rescale_betas_zero_snr is True"]),
        ({"_class_name": "CogVideoXDDIMScheduler"}, ["snr_shift_scale is 3.0"]),  # it is applied to alpha-bar
        ({"_class_name": "UniPCMultistepScheduler", "use_flow_sigmas": True}, ["use_flow_sigmas is True"]),
    ],
)
def test_schedules_that_have_no_betas_of_their_own_are_refused(changes: dict[str, Any], parts: list[str]) -> None:
    message = refusal(network(), {**SCHEDULE, **changes}, None, SHAPE, 4)
    assert all(part in message for part in [*parts, "set teacher.source"]), message


@pytest.mark.parametrize("kind", ["DDPMScheduler", "DDIMScheduler", "PNDMScheduler", "HeunDiscreteScheduler"])
def test_what_an_old_config_does_not_say_is_its_classs_default(kind: str) -> None:
    """google/ddpm-cifar10-32 names no prediction type; the truth is the class's own config."""
    old = {"_class_name": kind, "num_train_timesteps": 50, "clip_sample": True}
    wanted = getattr(diffusers, kind)(num_train_timesteps=50).config
    assert training_schedule(old) == {key: wanted[key] for key in SCHEDULE_KEYS}
    assert canonical_scheduler(training_schedule(old)) == {**training_schedule(old), "clip_sample": False}


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"beta_schedule": "sigmoid"}, ["beta_schedule is 'sigmoid'"]),
        ({"beta_schedule": "laplace"}, ["beta_schedule is 'laplace'"]),
        ({"prediction_type": "flow_prediction"}, ["prediction_type is 'flow_prediction'"]),
        ({"prediction_type": None}, ["prediction_type is None"]),
        ({"beta_start": None}, ["beta_start is None"]),
        ({"beta_start": "small"}, ["beta_start is 'small'"]),
        ({"beta_start": 0.5}, ["beta_start 0.5 is above beta_end 0.02"]),
        ({"beta_end": 1.0}, ["beta_end is 1.0", "less than 1"]),
        ({"beta_end": float("nan")}, ["beta_end is nan"]),
        ({"beta_start": True}, ["beta_start is True"]),
        ({"num_train_timesteps": 400.0}, ["num_train_timesteps is 400.0"]),
        ({"num_train_timesteps": "400"}, ["num_train_timesteps is '400'"]),
        ({"num_train_timesteps": 10**9}, ["num_train_timesteps is 1000000000"]),
        ({"beta_end": 0.99}, ["no schedule of noise", "beta_end 0.99"]),
        ({"beta_start": 1e-300}, ["no schedule of noise", "beta_start 1e-300"]),
    ],
)
def test_a_schedule_out_of_the_params_bounds_is_refused(changes: dict[str, Any], parts: list[str]) -> None:
    message = refusal(network(), {**SCHEDULE, **changes}, None, SHAPE, 4)
    assert all(part in message for part in ["scheduler_config.json: ", *parts, "set teacher.source"]), message


def test_numbers_as_text_are_taken_as_the_numbers() -> None:
    assert training_schedule({**SCHEDULE, "beta_start": "1e-4", "beta_end": "0.02"}) == SCHEDULE
