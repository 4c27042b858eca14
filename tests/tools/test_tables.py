"""The tables of a run name the distance by its features, however long their name."""

import pytest

from dmd.report.tables import distance_key


@pytest.mark.parametrize("name", ["fid", "fd_x", "fd_lenet", "fd_efficientnet_lite0"])
def test_the_distance_is_told_from_what_is_made_of_it(name: str) -> None:
    distances = {name: 2.0, f"{name}_std": 0.1, f"{name}_merged": 1.5}
    student = {"fd_to_teacher": 1.0, "fd_to_teacher_std": 0.1, "kid_x": 3.0, **distances}
    assert distance_key({"student": student}) == name


def test_scores_without_a_distance_are_refused() -> None:
    with pytest.raises(ValueError, match="run evaluate again"):
        distance_key({"student": {"fd_to_teacher": 1.0, "kid_x": 3.0}})
