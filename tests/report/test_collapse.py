"""A run that collapsed is named, and one that did not is not."""

import pytest

from dmd.report.collapse import name_collapse
from tests.stages.made_up import health


def scores(student, teacher):
    return {"student": {"pixel_diversity": student, "pixel_num_samples": 250}, "teacher": {"pixel_diversity": teacher}}


def test_a_good_run_is_not_named():
    assert name_collapse(health(), scores(0.3, 0.5)) is None
    assert name_collapse(health().iloc[:0], {"student": {"fd_lenet": 3.0}, "teacher": {"fd_lenet": 2.0}}) is None


def test_a_student_that_draws_nearly_the_same_image_is_named_with_both_numbers():
    """Those of a run on a hundred faces, whose regression weighed too little."""
    said = name_collapse(health(), scores(0.0595079, 0.149165))
    assert "0.4 times as much as the teacher's (pixel_diversity 0.0595 against 0.149)" in said


@pytest.mark.parametrize(("first", "named"), [(5, True), (1, True), (0, False)])
def test_images_that_were_constant_before_the_first_update_are_the_teachers(first, named):
    table = health()
    table.loc[first:, "variety"] = 0.001
    assert bool(name_collapse(table, scores(0.5, 0.5))) == named
