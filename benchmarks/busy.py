"""A busy machine: an iteration beside a process that spins on one core, by the wall clock, and how threads wait."""

import subprocess
import sys
from typing import Any

from benchmarks import distill
from benchmarks.repeats import ratio, summary
from benchmarks.workers import Job, Jobs, Plan, Worker, in_turns
from dmd.runtime.threads import usable_cores

SPIN = (sys.executable, "-c", "while True: pass")

WAITING: dict[str, dict[str, str]] = {
    "ours": {},
    "spinning": {"GOMP_SPINCOUNT": "300000"},  # what GNU's OpenMP does if nothing is said: 3 ms or so
    "sleeping": {"GOMP_SPINCOUNT": "0"},  # what OMP_WAIT_POLICY=PASSIVE asks for
    "spin_500": {"GOMP_SPINCOUNT": "500"},
    "spin_2000": {"GOMP_SPINCOUNT": "2000"},
    "one_thread": {"OMP_NUM_THREADS": "1"},
}
"""Environments of a process, by name; `ours` is that of the stages."""


def jobs() -> Jobs:
    """The iteration of `benchmarks/distill.py`, alone and beside a process that spins."""
    iteration = distill.ours()["iteration"]
    return {"idle": iteration, "busy": beside_a_busy_core(iteration)}


def beside_a_busy_core(job: Job) -> Job:
    """The job, with another process that is busy as long as it lasts."""

    def run() -> None:
        spinning = subprocess.Popen(SPIN)
        try:
            job()
        finally:
            spinning.kill()
            spinning.wait()

    return run


def measure(plan: Plan) -> dict[str, Any]:
    """Seconds of an iteration on an idle and a busy machine, by how threads wait; nothing where there is one core."""
    cores = usable_cores()
    if cores == 1:
        return {"ratios": {}}
    workers = {name: Worker(jobs, tuned=True, environment=environment) for name, environment in WAITING.items()}
    sides = {f"{name}_{load}": (worker, load) for load in ("idle", "busy") for name, worker in workers.items()}
    times = in_turns(sides, Plan(plan.repeats))[0]
    seconds = {name: [value / distill.ITERATIONS for value in values] for name, values in times.items()}
    others = [name for name in WAITING if name != "ours"]
    return {
        "machine": {"clock": "wall", "threads": cores},
        "waiting": WAITING,
        "seconds": {name: summary(values) for name, values in seconds.items()},
        "ratios": {
            "busy_core_over_idle": ratio(seconds["ours_busy"], seconds["ours_idle"]),
            "idle_iteration_after_over_before": ratio(seconds["ours_idle"], seconds["spinning_idle"]),
            "busy_iteration_before_over_after": ratio(seconds["spinning_busy"], seconds["ours_busy"]),
        }
        | {f"busy_core_{name}_over_ours": ratio(seconds[f"{name}_busy"], seconds["ours_busy"]) for name in others[1:]}
        | {f"idle_core_{name}_over_ours": ratio(seconds[f"{name}_idle"], seconds["ours_idle"]) for name in others[1:]},
    }
