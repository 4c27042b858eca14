"""Rows of the teacher's table: what can be asked for, and what is refused before any image is drawn."""

from pathlib import Path

import pytest
import typer

from dmd.commands.teacher_steps import ROWS, Setting, check_steps, choose, read_setting
from dmd.params.config import load_config
from dmd.params.sampling import ANY_SCHEDULE

ROOT = Path(__file__).resolve().parents[2]


def test_every_row_of_the_choice_is_a_setting() -> None:
    assert len({read_setting(text, 1.5) for text in ROWS}) == len(ROWS)


def test_the_spacing_is_trailing_unless_it_is_named() -> None:
    assert read_setting("ddim 50", 1.5) == Setting(1.5, "ddim", 50, "trailing")
    assert read_setting("ddim 50 leading", 1.0) == Setting(1.0, "ddim", 50, "leading")


@pytest.mark.parametrize(
    "text", ["ddim", "ddim ten", "ddim 0", "ddim 50 trialing", "ddim 50 leading now", "unipc 8 leading", "ddpm 1000"]
)
def test_a_row_that_the_params_would_refuse_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match=text):
        read_setting(text, 1.5)


def test_the_choice_for_an_edm_teacher_needs_no_betas() -> None:
    plans = choose(load_config(ROOT / "pipelines/mnist-edm/params.yaml"), 1000, 1.25, 20, 2, 10)
    assert {setting.solver for setting, *_ in plans} == set(ANY_SCHEDULE)
    assert (Setting(1.25, "euler", 1000, "trailing"), 10, 1) in plans
    assert len(set(plans)) == len(plans)


def test_the_exact_solution_has_no_more_steps_than_the_schedule() -> None:
    plans = choose(load_config(ROOT / "pipelines/mnist/params.yaml"), 400, 1.5, 20, 2, 10)
    assert (Setting(1.5, "ddim", 400, "trailing"), 10, 1) in plans
    assert max(setting.num_steps for setting, *_ in plans) == 400


@pytest.mark.parametrize(("row", "words"), [("ddim 7", "does not divide"), ("heun 2000", "is above")])
def test_steps_that_the_schedule_has_not_are_refused(row: str, words: str) -> None:
    with pytest.raises(ValueError, match=f"--row.num_steps {row.split()[1]} {words}"):
        check_steps(read_setting(row, 1.0), 1000)
