"""Pictures of methods name what they show, and leave out what is no evidence; equal tables give equal pictures."""

import xml.etree.ElementTree as ET
from typing import Any

import pandas as pd
import pytest

from tools.method_plots import guidance_picture, passes_picture, recipe_styles

ENDS = {"dmd": 6.0, "gan": 40.0, "sid": 8.0}


def words(svg: str) -> list[str]:
    """Every text of a picture, in the order in which it is drawn."""
    return [element.text or "" for element in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


@pytest.fixture
def teacher_steps() -> pd.DataFrame:
    rows = [(1.0, 8, 5.0, 0.95, 2000), (1.25, 8, 3.5, 0.98, 2000), (1.5, 8, 8.0, 0.99, 2000), (1.75, 8, 17.0, 0.5, 250)]
    rows += [(1.25, 20, 3.4, 0.985, 2000)]
    columns = ["guidance_scale", "num_steps", "fd_x", "class_accuracy", "num_samples"]
    return pd.DataFrame(rows, columns=columns).assign(solver="unipc", timestep_spacing="trailing")


@pytest.fixture
def methods() -> pd.DataFrame:
    rows = [
        {"recipe": name, "seed": seed, "fd_x": end, "fd_x_std": 0.1} for name, end in ENDS.items() for seed in (0, 1)
    ]
    return pd.DataFrame(rows).assign(class_accuracy=[0.98, 0.99, 0.96, 0.96, 0.97, 0.99])


RUNS: dict[str, Any] = {
    "the run in git": {"fd_x": 5.5, "class_accuracy": 0.985},
    "the longer run": {"fd_x": 4.5, "class_accuracy": 0.987},
}
TEST = {"fd_x": 3.1, "class_accuracy": 0.995}


def test_lines_over_passes_are_named_in_the_order_in_which_they_end() -> None:
    rows = [
        {"recipe": name, "seed": seed, "network_passes": passes, "fd_x": end * factor}
        for name, end in ENDS.items()
        for seed in (0, 1)
        for passes, factor in ((0, 30.0), (1000, 3.0), (2000, 1.0))
    ]
    svg = passes_picture(pd.DataFrame(rows))
    assert [word for word in words(svg) if word in ENDS] == ["gan", "sid", "dmd"]
    assert {"network passes, thousands", "fd_x"} <= set(words(svg))
    assert svg == passes_picture(pd.DataFrame(rows))


def test_students_stand_beside_the_teachers_curve_over_guidance(
    teacher_steps: pd.DataFrame, methods: pd.DataFrame
) -> None:
    alphas = pd.DataFrame({"changes": ["alpha 32", "alpha 0"], "fd_x": [7.0, 6.5], "class_accuracy": [0.985, 0.975]})
    svg = guidance_picture(teacher_steps, methods, alphas, RUNS, TEST)
    found = words(svg)
    assert {"dmd", "sid", "1", "1.25", "1.5", "teacher, unipc, 8 steps", "teacher, unipc, 20 steps"} <= set(found)
    assert {"alpha 32", "alpha 0"} <= set(found)
    assert {"the run in git", "the longer run", "real test images", "class accuracy"} <= set(found)
    assert "1.75" not in found, "250 samples are no evidence"
    assert found.count("1.25") == 1, "scales are named along one curve"
    assert "beyond the picture: gan (40, 0.96)" in found
    assert "gan" not in found
    assert svg == guidance_picture(teacher_steps, methods, alphas, RUNS, TEST)


def test_a_recipe_looks_the_same_whatever_the_order() -> None:
    styles = recipe_styles(["sid", "gan", "dmd"])
    assert styles == recipe_styles(list(ENDS))
    assert len({tuple(style.items()) for style in recipe_styles(map(str, range(10))).values()}) == 10
