"""Signs of a run that runs away: each is told once, when it has lasted, with the params to change."""

from typing import Any

import pytest

from dmd.distill.health import MEASURES
from dmd.distill.trouble import first_sign

BAD: dict[str, tuple[dict[str, float], list[str]]] = {
    "lag": ({"fake_lag": 50.0}, ["50.0 times", "distill.num_fake_updates", "distill.matching.noise"]),
    "variety": ({"variety": 0.02}, ["0.02 times", "alpha", "distill.matching.guidance_scale"]),
    "discriminator": ({"discriminator_accuracy": 0.999}, ["100%", "distill.discriminator.weight"]),
}
COUNT = 30


def healthy(count: int = COUNT, discriminator: bool = True) -> list[dict[str, Any]]:
    """A run whose fake score keeps up, and whose images vary as the pairs' do."""
    row = {**dict.fromkeys(MEASURES, 0.1), "variety": 0.95, "fake_lag": 0.9}
    row |= {"discriminator_accuracy": 0.6} if discriminator else {}
    return [{"step": 20 * i, **row} for i in range(count)]


def told(rows: list[dict[str, Any]]) -> list[str]:
    """What is said as the table grows."""
    said = [first_sign(rows[: i + 1]) for i in range(len(rows))]
    return [sentence for sentence in said if sentence is not None]


def spoiled(start: int, stop: int, *changes: dict[str, float]) -> list[dict[str, Any]]:
    rows = healthy()
    for row in rows[start:stop]:
        for change in changes:
            row |= change
    return rows


@pytest.mark.parametrize("discriminator", [True, False])
def test_a_healthy_run_says_nothing(discriminator: bool) -> None:
    assert told(healthy(discriminator=discriminator)) == []
    assert first_sign([]) is None


@pytest.mark.parametrize("name", BAD)
def test_each_sign_is_said_once_with_value_and_cure(name: str) -> None:
    change, parts = BAD[name]
    said = told(spoiled(10, COUNT, change))
    assert len(said) == 1
    assert said[0].startswith("update ")
    assert 20 * 10 <= int(said[0].split()[1].rstrip(":")) <= 20 * 20
    assert all(part in said[0] for part in parts)


@pytest.mark.parametrize("name", BAD)
def test_one_bad_row_is_chance(name: str) -> None:
    assert told(spoiled(15, 16, BAD[name][0])) == []


@pytest.mark.parametrize("name", BAD)
def test_a_sign_that_comes_back_is_not_said_again(name: str) -> None:
    rows = spoiled(10, 18, BAD[name][0])
    for row in rows[24:]:
        row |= BAD[name][0]
    assert len(told(rows)) == 1


def test_signs_that_come_together_are_all_said() -> None:
    said = " ".join(told(spoiled(10, COUNT, *(change for change, _ in BAD.values()))))
    for _, parts in BAD.values():
        assert all(said.count(part) >= 1 for part in parts)
    assert [said.count(word) for word in ("fake score lags", "images vary", "discriminator is right")] == [1, 1, 1]
