"""Threads: a process with one for each core against a process with one, by the wall clock whatever clock was asked."""

from typing import Any

import torch

from benchmarks import distill
from benchmarks.repeats import ratio, summary
from benchmarks.workers import Jobs, Plan, Worker, in_turns
from dmd.runtime.threads import usable_cores


def ours(threads: int) -> Jobs:
    """The iteration and the passes of `benchmarks/distill.py` with so many threads."""
    torch.set_num_threads(threads)
    return distill.ours()


def measure(plan: Plan) -> dict[str, Any]:
    """Seconds of an iteration and of its forward pass, and the ratios; nothing where the process has one core."""
    cores = usable_cores()
    if cores == 1:
        return {"ratios": {}}
    one, all_cores = Worker(ours, 1, tuned=True), Worker(ours, cores, tuned=True)
    sides = {
        f"{name}_{label}": (worker, name)
        for name in ("forward", "iteration")
        for label, worker in (("one", one), ("all", all_cores))
    }
    times = in_turns(sides, Plan(plan.repeats))[0]
    counts = {"forward": distill.PASSES, "iteration": distill.ITERATIONS}
    times = {name: [value / counts[name.partition("_")[0]] for value in values] for name, values in times.items()}
    return {
        "machine": {"clock": "wall", "threads": [1, cores]},
        "seconds": {name: summary(values) for name, values in times.items()},
        "ratios": {
            f"threads_{name}_all_over_one": ratio(times[f"{name}_all"], times[f"{name}_one"]) for name in counts
        },
    }
