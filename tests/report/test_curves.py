"""Curves show the rows they say, are drawn in the page's ink, and equal numbers give equal text."""

import io
import xml.etree.ElementTree as ET

import pandas as pd
import pytest
import yaml
from PIL import Image

from dmd.report.collapse import find_collapse
from dmd.report.curves import (
    HEALTH,
    INK,
    epoch_spans,
    exactness_curves,
    health_curves,
    losses_curves,
    losses_png,
    steps_curves,
    timesteps_curves,
)
from dmd.report.metrics_folder import all_columns
from dmd.report.tables import STEPS
from tests.architecture.sources import ROOT
from tests.stages.made_up import health, losses

TICKS = "{http://www.w3.org/2000/svg}text"


def words(svg):
    return [element.text for element in ET.fromstring(svg).iter(TICKS)]


@pytest.mark.parametrize(
    ("steps", "epoch", "expected"),
    [
        (800, 64.0, {"first epoch": (0, 64), "epoch 12": (704, 768)}),
        (128, 64.0, {"first epoch": (0, 64), "epoch 2": (64, 128)}),
        (100, 64.0, {"first epoch": (0, 64)}),
        (30, 64.0, {"first epoch": (0, 30)}),
        (5, 1.0, {"first epoch": (0, 1), "epoch 5": (4, 5)}),
    ],
)
def test_epochs_are_whole_passes_over_the_pairs(steps, epoch, expected):
    assert {title: (rows.start, rows.stop) for title, rows in epoch_spans(steps, epoch).items()} == expected


def test_losses_show_the_whole_run_its_first_epoch_and_a_later_one():
    curves = losses_curves(losses(200), 50.0)
    assert list(curves) == ["whole run", "first epoch", "epoch 4"]
    assert [words(svg).count("regression") for svg in curves.values()] == [1, 1, 1]
    assert {"160", "180", "200"} <= set(words(curves["epoch 4"]))
    assert not {"160", "180"} & set(words(curves["first epoch"]))


def test_svg_is_one_element_in_the_pages_ink_and_always_the_same():
    curves = {**losses_curves(losses(), 20.0), **health_curves(health())}
    again = {**losses_curves(losses(), 20.0), **health_curves(health())}
    assert curves == again
    for svg in curves.values():
        root = ET.fromstring(svg)
        assert "width" not in root.attrib
        assert "viewBox" in root.attrib
        assert "currentColor" in svg
        assert INK not in svg
        assert "<metadata" not in svg


def test_the_losses_are_one_picture_that_depends_on_them_alone():
    picture = losses_png(losses())
    with Image.open(io.BytesIO(picture)) as opened:
        assert opened.format == "PNG"
        assert opened.convert("RGB").getpixel((0, 0)) == (255, 255, 255)
        assert len(opened.convert("RGB").getcolors(1 << 20)) > 10  # lines of three colours and their blends
    assert losses_png(losses()) == picture
    assert losses_png(losses().assign(fake=lambda table: table["fake"] + table["step"])) != picture


def test_health_is_drawn_where_a_gradient_is_zero_too():
    assert find_collapse(health()) is None
    assert next(iter(health_curves(health()))) == "gradient norm at the images"


def test_the_student_is_a_mark_at_one_call_beside_the_teachers_lines():
    rows = [
        ("teacher", 1.5, "ddim", 10, 10, 9.0, 0.01, 2000),
        ("teacher", 1.5, "ddim", 20, 20, 6.0, 0.02, 2000),
        ("teacher", 1.5, "unipc", 8, 8, 7.0, 0.01, 10000),
        ("student_before", None, None, 1, 1, 90.0, 0.001, 10000),
        ("student", None, None, 1, 1, 8.0, 0.001, 10000),
    ]
    curves = steps_curves(pd.DataFrame(rows, columns=STEPS), "fd_lenet")
    assert list(curves) == ["distance over network calls", "distance over seconds"]
    for svg in curves.values():
        legend = {word for word in words(svg) if word and word.endswith(",000")}
        assert legend == {
            "ddim, 1.5, 2,000",
            "unipc, 1.5, 10,000",
            "one step, before, 10,000",
            "one step, after, 10,000",
        }


def test_a_line_for_each_solver_leads_to_the_exact_solution():
    columns = ["guidance_scale", "solver", "timestep_spacing", "nfe", "rmse_to_exact"]
    rows = [
        (1.5, "ddim", "trailing", 20, 0.06),
        (1.5, "ddim", "trailing", 10, 0.1),
        (1.5, "ddim", "leading", 10, 0.2),
        (1.5, "unipc", "trailing", 8, 0.07),
        (1.0, "heun", "trailing", 9, None),
    ]
    ((title, svg),) = exactness_curves(pd.DataFrame(rows, columns=columns)).items()
    assert title == "distance to the exact solution"
    assert {word for word in words(svg) if word and "guidance" in word} == {
        "ddim, guidance 1.5",
        "ddim, leading, guidance 1.5",
        "unipc, guidance 1.5",
    }


def test_the_chosen_timestep_is_marked_on_the_curve_of_all():
    table = pd.DataFrame({"generator_timestep": [600, 200], "fd_lenet": [287.5, 950.0], "num_samples": 2000})
    ((title, svg),) = timesteps_curves(table, "fd_lenet", 500).items()
    assert title == "one step before distillation"
    assert "t* = 500" in words(svg)
    assert words(svg).count("fd_lenet") == 1


def test_a_value_that_is_missing_leaves_a_gap_and_no_zero():
    """One value between two gaps is a point, and a column without any value is not shown."""
    values = [float("nan"), 2.0, float("nan"), 3.0, 4.0]
    table = pd.DataFrame({"step": range(5), "matching_low_noise": values, "matching_high_noise": float("nan")})
    ((title, svg),) = health_curves(table).items()
    assert title.startswith("gradient of matching")
    assert {"low"} <= set(words(svg))
    assert "high" not in words(svg)
    lines = [path.get("d") for path in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}path")]
    (drawn,) = [path for path in lines if path and path.count("M") == 2 and path.count("L") == 1]
    assert drawn


def test_dvcs_plots_name_every_column_of_the_health_table():
    plots = yaml.safe_load((ROOT / "dvc.yaml").read_text())["plots"]
    sources = [source for plot in plots if isinstance(plot, dict) for source in next(iter(plot.values()))["y"].items()]
    named = [column for path, columns in sources if path.endswith("/health.csv") for column in columns]
    assert sorted(named) == sorted(name for group in HEALTH.values() for name in group)
    table = all_columns(health())
    assert set(named) < set(table)
    assert table["discriminator_accuracy"].isna().all()
