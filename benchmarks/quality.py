"""What it costs to be as near to the data as an older default, led by the regression, was: then over now."""

import itertools
from collections.abc import Sequence
from typing import Any, Protocol

from benchmarks.repeats import Seconds, ratio, summary
from benchmarks.shipped import PARAMS, PLAIN, Shipped
from benchmarks.workers import Jobs, Plan, Worker, repeated
from dmd.commands.arguments import require
from dmd.commands.overrides import override
from dmd.commands.scorer import Scorer
from dmd.runtime.places import Places

COMMIT = "2ce3e013052a1aec0fc1f8df1454ea3240f21100"
"""The last commit whose default was led by the regression."""

DISTANCE = 8.84119
"""Its student's `fd_lenet`, in its metrics/mnist-small/metrics.json: five sets of 2,000."""

BEFORE: dict[str, Any] = {
    "alpha": 8.0,
    "guidance_scale": 1.5,
    "distill.steps": 500,
    "distill.batch_size": 32,
    "distill.pairs_batch_size": 32,
    "distill.learning_rate_generator": 3.0e-4,
    "distill.learning_rate_fake": 6.0e-4,
    "distill.learning_rate_schedule": "cosine",
}
"""Its params, beside those of `PLAIN`: one fake update, matching at all timesteps."""

SAMPLES = 2000
"""In each of the sets on which the averaged student is scored."""

EVERY = 25
"""Updates in a turn."""


class Side(Protocol):
    """What does a job and says how long it took, as a `Worker`."""

    def run(self, name: str) -> tuple[dict[str, float], Any]:
        """Seconds by clock, and what the job returned."""


def before() -> Jobs:
    """Updates with the settings of before."""
    shipped = Shipped()
    shipped.config = override(PARAMS, BEFORE)
    distiller, steps = shipped.distiller(Places(shipped.config.system).pairs), itertools.count()
    return {"updates": repeated(lambda: distiller.step(next(steps)), EVERY)}


def after() -> Jobs:
    """The run of the params, some updates at a time, and the distance of its averaged student."""
    shipped = Shipped()
    own = {name: getattr(shipped.config.distill, name) for name in PLAIN}
    distiller, steps = shipped.distiller(Places(shipped.config.system).pairs, **own), itertools.count()
    scorer = Scorer(shipped.config, SAMPLES)

    def distance() -> float:
        with distiller.student.averaged() as generator:
            return float(scorer.score_model(generator, "score")[scorer.setup.distance])

    return {"updates": repeated(lambda: distiller.step(next(steps)), EVERY), "distance": distance}


def take_turns(old: Side, new: Side, clock: str, steps: int) -> tuple[Seconds, Seconds, list[float]]:
    """Seconds of the turns of both sides, and the distance after each, until it is no greater than `DISTANCE`.

    The scoring is not in the seconds; the first turn of before is dropped.

    Raises:
        ValueError: all `steps` updates do not lead there.
    """
    old.run("updates")
    seconds: tuple[Seconds, Seconds] = ([], [])
    distances: list[float] = []
    while not distances or distances[-1] > DISTANCE:
        if (len(distances) + 1) * EVERY > steps:
            raise ValueError(
                f"after {steps} updates the student is at {min(distances):.4g} at best, not at {DISTANCE:g}"
            )
        for side, found in zip((old, new), seconds, strict=True):
            found.append(side.run("updates")[0][clock])
        distances.append(new.run("distance")[1])
    return *seconds, distances


def record(old: Seconds, new: Seconds, distances: Sequence[float]) -> dict[str, Any]:
    """Seconds of all of before's updates and of after's until the distance is reached, as each turn has them."""
    updates = len(distances) * EVERY
    whole = {"before": [BEFORE["distill.steps"] / EVERY * value for value in old]}
    whole["after"] = [updates / EVERY * value for value in new]
    return {
        "before": {"commit": COMMIT, "params": BEFORE, "distance": DISTANCE},
        "updates": updates,
        "distances": {str((k + 1) * EVERY): value for k, value in enumerate(distances)},
        "seconds": {name: summary(values) for name, values in whole.items()},
        "ratios": {"time_to_quality_before_over_after": ratio(whole["before"], whole["after"])},
    }


def measure(plan: Plan) -> dict[str, Any]:
    """One run of the params to the distance of before, beside as many updates with the settings of before.

    It needs the data and pairs of a finished `make repro`. The repeats are the turns, whatever the plan says.
    """
    config = Shipped().config
    require(Places(config.system).pairs, "pairs")
    with Worker(before, tuned=True) as old, Worker(after, tuned=True) as new:
        return record(*take_turns(old, new, plan.clock, config.distill.steps))
