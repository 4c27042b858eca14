"""Params of the methods: each that makes no sense is refused with value, place and cure."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from dmd.params.config import load_config
from tests.params.test_config import VALUES, refusal

ON = {"distill.discriminator.kind": "convolutional"}
HEARD = {"distill.discriminator.weight": 0.06}
NO_LABELS = {"dataset.num_classes": None, "guidance_scale": 1.0}


def values_with(changes: dict[str, Any]) -> dict[str, Any]:
    values = copy.deepcopy(VALUES)
    for key, value in changes.items():
        *parents, last = key.split(".")
        place = values
        for parent in parents:
            place = place[parent]
        place[last] = value
    return values


WRONG: dict[str, tuple[dict[str, Any], list[str]]] = {
    "range that is empty": (
        {"distill.matching.noise": [3.0, 3.0]},
        ["distill.matching.noise", "[3.0, 3.0] is no range", "the least noise comes first"],
    ),
    "range the wrong way round": (
        {"distill.matching.noise": [12.0, 0.02]},
        ["distill.matching.noise", "[12.0, 0.02]", "below the greatest"],
    ),
    "range of the fake score the wrong way round": (
        {"distill.fake_noise": [2.0, 1.0]},
        ["distill.fake_noise", "[2.0, 1.0]", "below the greatest"],
    ),
    "range from zero": ({"distill.matching.noise": [0, 12]}, ["distill.matching.noise.0", "greater than 0", "got 0"]),
    "range without end": (
        {"distill.matching.noise": [1.0, float("inf")]},
        ["distill.matching.noise.1", "finite", "inf"],
    ),
    "one end": ({"distill.matching.noise": [1.0]}, ["distill.matching.noise.1", "required"]),
    "unknown loss": ({"distill.matching.loss": "gan"}, ["distill.matching.loss", "'dmd', 'sid' or 'none'", "'gan'"]),
    "unknown divergence": (
        {"distill.matching.divergence": "kl"},
        ["distill.matching.divergence", "'jensen_shannon'", "'kl'"],
    ),
    "negative guidance": (
        {"distill.matching.guidance_scale": -1.0},
        ["distill.matching.guidance_scale", "-1.0", "greater than or equal to 0"],
    ),
    "text for a": ({"distill.matching.sid_a": "one"}, ["distill.matching.sid_a", "'one'", "number"]),
    "unknown discriminator": (
        {"distill.discriminator.kind": "vit"},
        ["distill.discriminator.kind", "'convolutional' or 'bottleneck'", "'vit'"],
    ),
    "negative weight": (
        {"distill.discriminator.weight": -0.1},
        ["distill.discriminator.weight", "-0.1", "greater than or equal to 0"],
    ),
    "no weight of the bottleneck": (
        {"distill.discriminator.fake_weight": 0.0},
        ["distill.discriminator.fake_weight", "0.0", "greater than 0"],
    ),
    "rate of a discriminator": (
        {"distill.discriminator.learning_rate": 0.0},
        ["distill.discriminator.learning_rate", "0.0", "greater than 0"],
    ),
    "narrow": ({"distill.discriminator.width": 0}, ["distill.discriminator.width", "greater than or equal to 8"]),
    "width of no whole groups": ({"distill.discriminator.width": 20}, ["distill.discriminator.width", "20", "of 8"]),
    "no timestep": ({"distill.generator_timesteps": []}, ["distill.generator_timesteps", "at least 1"]),
    "a timestep that is none": ({"distill.generator_timesteps": [2.5]}, ["distill.generator_timesteps.0", "2.5"]),
    "timestep for timesteps": ({"distill.generator_timesteps": 500}, ["distill.generator_timesteps", "500", "tuple"]),
    "timesteps that rise": (
        {"distill.generator_timesteps": [200, 500]},
        ["distill", "generator_timesteps [200, 500] do not fall", "sort them from noise to image"],
    ),
    "the same timestep twice": ({"distill.generator_timesteps": [500, 500]}, ["[500, 500] do not fall"]),
    "a first timestep outside": (
        {"distill.generator_timesteps": [1000, 500]},
        ["distill.generator_timesteps [1000, 500]", "0 … 999", "num_train_timesteps"],
    ),
    "negative warm-up": (
        {"distill.fake_warmup_updates": -1},
        ["distill.fake_warmup_updates", "-1", "greater than or equal to 0"],
    ),
    "negative snapshots": ({"distill.snapshot_samples": -5}, ["distill.snapshot_samples", "-5"]),
    "few snapshots": ({"distill.snapshot_samples": 19}, ["snapshot_samples 19", "take 20 or more, or 0"]),
    "divergence without a discriminator": (
        {"distill.matching.divergence": "jensen_shannon"},
        ["distill", "matching.divergence jensen_shannon", "set discriminator.kind", "reverse_kl"],
    ),
    "divergence of another loss": (
        {**ON, "distill.matching.divergence": "forward_kl", "distill.matching.loss": "sid"},
        ["distill.matching", "divergence forward_kl", "not `sid`", "set reverse_kl"],
    ),
    "divergence in micro-batches": (
        {**ON, "distill.matching.divergence": "squared_hellinger", "distill.micro_batch_size": 8},
        ["distill", "matching.divergence squared_hellinger", "micro_batch_size to null"],
    ),
    "bottleneck without a fake score": (
        {**HEARD, "distill.discriminator.kind": "bottleneck", "distill.matching.loss": "none"},
        ["distill", "discriminator.kind bottleneck", "matching.loss none", "take convolutional"],
    ),
    "nothing to train": (
        {"alpha": 0.0, "distill.matching.loss": "none"},
        ["alpha 0", "distill.matching.loss none", "nothing to train", "set one of them"],
    ),
    "nothing to train but a discriminator that is not heard": (
        {**ON, "alpha": 0.0, "distill.matching.loss": "none", "distill.discriminator.weight": 0.0},
        ["discriminator.kind convolutional with discriminator.weight 0 changes nothing", "set both"],
    ),
    "a discriminator that is not heard": (
        {"distill.discriminator.kind": "bottleneck"},
        ["distill", "discriminator.kind bottleneck with discriminator.weight 0 changes nothing", "set both"],
    ),
    "a weight of no discriminator": (
        {"distill.discriminator.weight": 0.06},
        ["distill", "discriminator.kind null with discriminator.weight 0.06 changes nothing", "null and 0"],
    ),
    "a fake score that is asked beyond what it learns": (
        {"distill.matching.noise": [0.02, 8], "distill.fake_noise": [0.02, 6]},
        ["distill", "fake_noise [0.02, 6.0] does not hold matching.noise [0.02, 8.0]", "set it to null"],
    ),
    "guidance of the real score without labels": (
        {**NO_LABELS, "distill.matching.guidance_scale": 1.5},
        ["distill.matching.guidance_scale 1.5 needs labels", "set dataset.num_classes, or null"],
    ),
    "guidance of the real score by a teacher without a null class": (
        {
            "guidance_scale": 1.0,
            "distill.matching.guidance_scale": 1.5,
            "teacher.source": "train",
            "teacher.training": VALUES["teacher"]["training"] | {"label_dropout": 0.0},
        },
        ["distill.matching.guidance_scale 1.5", "label_dropout is 0"],
    ),
}

RIGHT: dict[str, dict[str, Any]] = {
    "several steps": {"distill.generator_timesteps": [700, 500, 300, 100]},
    "whole numbers for levels": {"distill.matching.noise": [1, 12], "distill.fake_noise": None},
    "no pairs": {"alpha": 0.0},
    "a discriminator alone": {
        **ON,
        "alpha": 0.0,
        "distill.matching.loss": "none",
        "distill.discriminator.weight": 1.0,
    },
    "a ratio alone": {**ON, "distill.matching.divergence": "jensen_shannon"},
    "regression alone": {"distill.matching.loss": "none"},
    "score identity with a bottleneck": {
        "distill.matching.loss": "sid",
        "distill.discriminator.kind": "bottleneck",
        "distill.discriminator.weight": 0.001,
    },
    "guidance of one is none": {**NO_LABELS, "distill.matching.guidance_scale": 1.0},
    "null for what may be none": {"distill.fake_noise": None, "distill.matching.guidance_scale": None},
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_method_is_refused_with_value_place_and_cure(case: str, tmp_path: Path) -> None:
    changes, parts = WRONG[case]
    message = refusal(tmp_path, values_with(changes))
    assert all(part in message for part in parts), message
    assert "pydantic" not in message.lower()


@pytest.mark.parametrize("case", RIGHT)
def test_a_method_that_makes_sense_is_read(case: str, tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(values_with(RIGHT[case])), encoding="utf-8")
    distill = load_config(path).distill
    for key, value in RIGHT[case].items():
        if key.startswith("distill."):
            found: Any = distill
            for part in key.split(".")[1:]:
                found = getattr(found, part)
            assert found == (tuple(value) if isinstance(value, list) else value)
