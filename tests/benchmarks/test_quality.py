"""The benchmark of time to a quality: before is what the history says, and seconds add up to the figure."""

import subprocess
from typing import Any

import pytest
import yaml

from benchmarks import quality, repro
from benchmarks.quality import BEFORE, COMMIT, DISTANCE, EVERY, record, take_turns
from benchmarks.shipped import PLAIN
from dmd.commands.overrides import flat


def shown(path: str) -> dict[str, Any]:
    """A file of the commit of before; JSON is YAML."""
    command = ["git", "show", f"{COMMIT}:{path}"]
    return yaml.safe_load(subprocess.run(command, cwd=repro.ROOT, capture_output=True, text=True, check=True).stdout)


class Scripted:
    """A side whose updates take `seconds` a turn and lead to these distances."""

    def __init__(self, seconds: float, distances: tuple[float, ...] = ()) -> None:
        self.seconds, self.distances = seconds, iter(distances)
        self.asked: list[str] = []

    def run(self, name: str) -> tuple[dict[str, float], Any]:
        self.asked.append(name)
        return {"cpu": self.seconds, "wall": 100.0}, next(self.distances) if name == "distance" else None


@pytest.mark.skipif(not repro.has(COMMIT), reason="needs the whole history: git fetch --unshallow")
def test_before_is_what_the_history_says() -> None:
    params = flat(shown("params.yaml"))
    assert {name: params[name] for name in BEFORE} == BEFORE
    assert params["distill.num_fake_updates"] == PLAIN["num_fake_updates"]
    assert shown("metrics/mnist-small/metrics.json")["student"]["fd_lenet"] == pytest.approx(DISTANCE, abs=1e-5)


def test_the_run_ends_where_its_distance_is_that_of_before() -> None:
    old, new = Scripted(3.0), Scripted(4.0, (300.0, DISTANCE + 0.01, DISTANCE, 1.0))
    seconds = take_turns(old, new, "cpu", 500)
    assert seconds == ([3.0] * 3, [4.0] * 3, [300.0, DISTANCE + 0.01, DISTANCE])
    assert old.asked == ["updates"] * 4, "its first turn is dropped"
    assert new.asked == ["updates", "distance"] * 3


def test_seconds_are_of_all_updates_before_and_of_those_it_took_after() -> None:
    """500 updates of 0.2 s: 100 s; three turns of 25 updates of 0.4 s: 30 s."""
    found = record([0.2 * EVERY] * 3, [0.4 * EVERY] * 3, [300.0, 20.0, 8.0])
    assert found["updates"] == 75
    assert found["distances"] == {"25": 300.0, "50": 20.0, "75": 8.0}
    assert found["seconds"]["before"]["median"] == pytest.approx(100)
    assert found["seconds"]["after"]["median"] == pytest.approx(30)
    assert found["ratios"]["time_to_quality_before_over_after"]["repeats"] == pytest.approx([100 / 30] * 3)


def test_a_run_that_never_gets_there_says_how_near_it_came() -> None:
    new = Scripted(1.0, (30.0, 9.5, 9.75))
    with pytest.raises(ValueError, match=r"after 74 updates the student is at 9.5 at best, not at 8.84"):
        take_turns(Scripted(1.0), new, "cpu", 74)
    assert new.asked.count("updates") == 2


def test_both_sides_update_with_their_own_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[float, float, dict[str, Any]]] = []

    def distiller(shipped: quality.Shipped, _pairs: Any, **changes: Any) -> None:
        made.append((shipped.config.alpha, shipped.config.distill.learning_rate_fake, changes))

    monkeypatch.setattr(quality.Shipped, "distiller", distiller)
    monkeypatch.setattr(quality, "Scorer", lambda *_: None)
    quality.before(), quality.after()
    now = quality.Shipped().config
    assert made[0] == (8.0, 6e-4, {})
    assert made[1] == (now.alpha, now.distill.learning_rate_fake, {name: getattr(now.distill, name) for name in PLAIN})
