"""Making pairs: against diffusers' pipelines on the same weights and noises, and against the floor."""

from typing import Any

import numpy as np

from benchmarks import peers
from benchmarks.operations import shares_of_products
from benchmarks.repeats import ratio, summary
from benchmarks.shipped import Shipped
from benchmarks.workers import Job, Jobs, Plan, Worker, in_turns
from dmd.diffusion.sampler import count_nfe, sample

DDIM_STEPS = 10
ANCESTRAL_PART = 10
ANCESTRAL_STEPS = 1000


def pictures(shipped: Shipped, count: int, steps: int = DDIM_STEPS) -> Job:
    """The sampler's DDIM as the peer has it: its images in [0, 1], channels last."""
    z, labels, scheduler = shipped.noise(count), shipped.labels(count), shipped.teacher.scheduler_config

    def run() -> Any:
        images = sample(shipped.guided, z, labels, scheduler, "ddim", steps, "trailing")
        return (images / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy()

    return run


def ours(count: int) -> Jobs:
    """This project's sampler, with DDIM as the peer has it and with the system's own solver."""
    shipped = Shipped()
    denoiser, settings, z, labels = shipped.guided, shipped.config.pairs, shipped.noise(count), shipped.labels(count)
    scheduler = shipped.teacher.scheduler_config

    def pairs() -> None:
        sample(denoiser, z, labels, scheduler, settings.solver, settings.num_steps, settings.timestep_spacing)

    calls = count * (1 + (shipped.config.guidance_scale != 1.0))
    return {"ddim": pictures(shipped, count), "pairs": pairs, "forward": shipped.forward(calls)}


def theirs(count: int) -> Jobs:
    """diffusers' pipelines."""
    shipped = Shipped()
    ddim = peers.ddim(shipped, count, DDIM_STEPS)
    return {
        "ddim": ddim,
        "products": lambda: shares_of_products(ddim),
        "ancestral": peers.ancestral(shipped, count, ANCESTRAL_PART),
    }


def measure(plan: Plan) -> dict[str, Any]:
    """Seconds of a batch of pairs on each side, and the ratios; the two DDIMs' images are compared."""
    shipped = Shipped()
    settings, count = shipped.config.pairs, shipped.config.pairs.batch_size
    our_side, their_side = Worker(ours, count, tuned=True), Worker(theirs, count, tuned=False)
    kept_side = Worker(theirs, count, tuned=True)
    sides = {
        "ddim": (our_side, "ddim"),
        "ddim_pipeline": (their_side, "ddim"),
        "ddim_pipeline_memory_kept": (kept_side, "ddim"),
        "pairs": (our_side, "pairs"),
        "ancestral_part": (their_side, "ancestral"),
        "forward": (our_side, "forward"),
    }
    asked = {"ours": (our_side, "ddim"), "theirs": (their_side, "ddim"), "products": (kept_side, "products")}
    times, facts = in_turns(sides, plan, finally_ask=asked)
    nfe = count_nfe(settings.solver, settings.num_steps)
    return {
        "batch": count,
        "network_calls_a_pair": nfe,
        "ancestral_steps": {"measured": ANCESTRAL_PART, "counted": ANCESTRAL_STEPS},
        "largest_difference_of_images": float(np.abs(facts["ours"] - facts["theirs"]).max()),
        "seconds": {name: summary(values) for name, values in times.items()},
        "ratios": {
            "pairs_over_ddim_pipeline": ratio(times["ddim_pipeline"], times["ddim"]),
            "pairs_over_ddim_pipeline_memory_kept": ratio(times["ddim_pipeline_memory_kept"], times["ddim"]),
            "pairs_over_ancestral": ratio(
                times["ancestral_part"], times["pairs"], factor=ANCESTRAL_STEPS / ANCESTRAL_PART
            ),
            "ddim_pipeline_share_products": summary(facts["products"]),
            "pairs_over_floor": ratio(times["pairs"], times["forward"], factor=1 / nfe),
        },
    }
