"""The teacher's table shows no score where none was taken, and how exact each row is without any."""

import pandas as pd
import pytest

from dmd.report.tables import steps_table
from tests.stages.made_up import scores
from tools.teacher_tables import exactness, scored


@pytest.fixture
def teacher_steps() -> pd.DataFrame:
    """A row drawn for its exactness alone, one that is only scored, and one with both."""
    rows = [(1.5, "unipc", 8, None, 250, 0.08), (1.0, "unipc", 8, 5.0, 2000, None), (1.5, "ddim", 100, 6.5, 2000, 0.01)]
    table = pd.DataFrame(
        rows, columns=["guidance_scale", "solver", "num_steps", "fd_lenet", "num_samples", "rmse_to_exact"]
    )
    return table.assign(
        precision=table["fd_lenet"] / 10,
        timestep_spacing="trailing",
        nfe=table["num_steps"],
        seconds_per_image=0.1,
        teacher="a",
    )


def test_views_tell_scores_and_exactness_apart(teacher_steps: pd.DataFrame) -> None:
    assert scored(teacher_steps)["num_samples"].tolist() == [2000, 2000]
    assert "rmse_to_exact" not in scored(teacher_steps)
    found = exactness(teacher_steps)
    assert found["rmse_to_exact"].tolist() == [0.01, 0.08]
    assert not {"fd_lenet", "precision", "num_samples"} & set(found)


def test_the_reports_steps_leave_out_what_has_no_score(teacher_steps: pd.DataFrame) -> None:
    evaluate = {"solver": "unipc", "num_steps": 8, "timestep_spacing": "trailing"}
    params = {"evaluate": evaluate, "guidance_scale": 1.25, "distill": {"generator_timesteps": [999]}}
    steps = steps_table(params, scores(), teacher_steps)
    teacher = steps[steps["model"] == "teacher"]
    assert teacher["distance"].tolist() == [5.0, 6.5, scores()["teacher"]["fd_lenet"]]
    assert len(steps) == 5
    assert list(steps.index) == list(range(5))
