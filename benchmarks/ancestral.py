"""Pairs by the system's solver and by all of 1000 ancestral steps: seconds."""

from typing import Any

from benchmarks import peers
from benchmarks.repeats import summary
from benchmarks.shipped import Shipped
from benchmarks.workers import Jobs, Plan, Worker, in_turns
from dmd.diffusion.sampler import sample

COUNT = 50
STEPS = 1000


def ours() -> Jobs:
    """One set of pairs by the system's solver."""
    shipped = Shipped()
    settings, scheduler, labels = shipped.config.pairs, shipped.teacher.scheduler_config, shipped.labels(COUNT)
    solver = settings.solver, settings.num_steps, settings.timestep_spacing
    return {"pairs": lambda: sample(shipped.guided, shipped.noise(COUNT, 0), labels, scheduler, *solver) is None}


def theirs() -> Jobs:
    """The same number by `DDPMPipeline`."""
    pipeline = peers.ancestral(Shipped(), COUNT, STEPS)
    return {"ancestral": lambda: pipeline() is None}


def measure(plan: Plan) -> dict[str, Any]:
    """Seconds of both; 1000 steps of the ancestral are run once, so their time has no spread."""
    times, _ = in_turns({"pairs": (Worker(ours, tuned=True), "pairs")}, plan)
    with Worker(theirs, tuned=False) as worker:
        seconds = worker.run("ancestral")[0][plan.clock]
    return {
        "images": COUNT,
        "seconds": {"pairs": summary(times["pairs"]), "ancestral": summary([seconds])},
        "ratios": {"pairs_over_ancestral_whole": summary([seconds / value for value in times["pairs"]])},
    }
