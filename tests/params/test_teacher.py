"""Where a teacher comes from: pages of the Hub are taken as ids, and what is no model's page is refused."""

from typing import Any

import pytest
from pydantic import ValidationError

from dmd.params.teacher import Schedule, Teacher

SCHEDULE = {"beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02, "prediction_type": "epsilon"}


def teacher(source: str, **changes: Any) -> Teacher:
    return Teacher.model_validate({"source": source, "schedule": None, **changes})


@pytest.mark.parametrize(
    ("address", "source"),
    [
        ("https://huggingface.co/org/a.name", "org/a.name"),
        ("http://www.huggingface.co/org/name/", "org/name"),
        ("https://hf.co/org/name/tree/main", "org/name"),
        (f"https://huggingface.co/org/name/tree/{'0a' * 20}", f"org/name@{'0a' * 20}"),
        ("https://example.org/org/name", "https://example.org/org/name"),
        ("assets/mnist-small/teacher", "assets/mnist-small/teacher"),
        ("org/name", "org/name"),
    ],
)
def test_the_page_of_a_model_is_taken_as_its_id(address: str, source: str) -> None:
    assert teacher(address).source == source


def test_a_page_may_have_a_revision_as_its_id_may() -> None:
    assert teacher("https://huggingface.co/org/name", revision="0a" * 20).revision == "0a" * 20


@pytest.mark.parametrize("path", ["datasets/org/name", "datasets/mnist", "org", "org/name/blob/main/a.json", ""])
def test_what_is_no_models_page_is_refused_with_what_to_write(path: str) -> None:
    with pytest.raises(ValidationError, match=rf"'https://hf.co/{path}' is no model's page .*write its id, `org/name`"):
        teacher(f"https://hf.co/{path}")


@pytest.mark.parametrize("timesteps", [1, 1_000_001])
def test_a_schedule_has_two_to_a_million_timesteps(timesteps: int) -> None:
    with pytest.raises(ValidationError, match="num_train_timesteps"):
        Schedule.model_validate({**SCHEDULE, "num_train_timesteps": timesteps})
    Schedule.model_validate({**SCHEDULE, "num_train_timesteps": min(max(timesteps, 2), 1_000_000)})
