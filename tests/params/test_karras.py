"""Wrong params of an EDM teacher are refused with key, value and cure."""

from pathlib import Path
from typing import Any

import pytest

from tests.params.test_config import changed, refusal

WRONG = {
    "betas": (
        "teacher.schedule.prediction_type",
        "edm",
        ["teacher.schedule.beta_end: unknown key", "teacher.schedule.beta_start"],
    ),
    "falling sigmas": (
        "teacher.schedule",
        {"prediction_type": "edm", "sigma_min": 80.0, "sigma_max": 0.002},
        ["teacher.schedule: sigma_min 80.0", "sigma_max 0.002"],
    ),
    "a sigma of zero": (
        "teacher.schedule",
        {"prediction_type": "edm", "sigma_min": 0.0},
        ["teacher.schedule.sigma_min", "greater than or equal to 0.000001"],
    ),
    "a solver for betas": (
        "teacher.schedule",
        {"prediction_type": "edm"},
        ["pairs.solver unipc", "take euler or heun"],
    ),
    "a network with a table of times": (
        "teacher",
        {"source": "random", "schedule": {"prediction_type": "edm"}, "backbone": {"kind": "teapearce", "width": 8}},
        ["teacher: backbone.kind `teapearce` has a table of times", "take unet2d"],
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_value_is_refused_with_key_value_and_cure(case: str, tmp_path: Path) -> None:
    key, value, parts = WRONG[case]
    values: dict[str, Any] = changed(key, value)
    message = refusal(tmp_path, values)
    assert all(part in message for part in parts), message
