"""The network of pipelines/cifar10, 35.7 million parameters with initial weights: an iteration, and pairs by DDIM."""

import itertools
from typing import Any

import numpy as np

from benchmarks import peers
from benchmarks.distill import floor_weights
from benchmarks.operations import count_flops
from benchmarks.pairs import pictures
from benchmarks.repeats import combine, ratio, summary
from benchmarks.shipped import CIFAR10, Shipped, count_parameters
from benchmarks.workers import Jobs, Plan, Worker, in_turns

BATCH = 8
"""Fresh noises, pairs, and images of DDIM; the system has 64, in parts of 8, as an iteration here does one part of."""
STEPS = 2
"""Of DDIM."""
REPEATS = 3
"""At most: an iteration takes half a minute of a core."""


def ours() -> Jobs:
    """An iteration of one micro-batch, the plain passes of its batch sizes, and this project's DDIM."""
    shipped = Shipped(CIFAR10)
    forward = {"forward": shipped.forward(BATCH), "forward_both": shipped.forward(2 * BATCH)}
    changes = {"batch_size": BATCH, "pairs_batch_size": BATCH, "micro_batch_size": None}
    distiller, steps = shipped.distiller(shipped.write_pairs(4 * BATCH), **changes), itertools.count()
    return forward | {
        "iteration": lambda: distiller.step(next(steps)) and None,
        "ddim": pictures(shipped, BATCH, STEPS),
        "parameters": lambda: count_parameters(shipped.teacher.backbone),
        "flops": lambda: {
            "forward": count_flops(forward["forward"]),
            "iteration": count_flops(lambda: distiller.step(next(steps))),
        },
    }


def theirs() -> Jobs:
    """diffusers' pipeline."""
    return {"ddim": peers.ddim(Shipped(CIFAR10), BATCH, STEPS)}


def measure(plan: Plan) -> dict[str, Any]:
    """Seconds of an iteration against its floor, and of DDIM against diffusers' pipeline, whose images are compared."""
    our_side, their_side = Worker(ours, tuned=True), Worker(theirs, tuned=False)
    sides = {name: (our_side, name) for name in ("forward", "forward_both", "iteration", "ddim")}
    sides |= {"ddim_pipeline": (their_side, "ddim")}
    asked = {"ours": (our_side, "ddim"), "theirs": (their_side, "ddim")}
    asked |= {name: (our_side, name) for name in ("parameters", "flops")}
    times, facts = in_turns(sides, Plan(min(plan.repeats, REPEATS), plan.clock), finally_ask=asked)
    config = Shipped(CIFAR10).config
    floor = combine(floor_weights(config.guidance_scale != 1.0, config.distill.num_fake_updates), times)
    flops = facts["flops"]
    rates = [flops["forward"] / value for value in times["forward"]]
    return {
        "network": config.system,
        "batch": BATCH,
        "parameters": facts["parameters"],
        "flops": flops,
        "flops_per_second": summary(rates),
        "largest_difference_of_images": float(np.abs(facts["ours"] - facts["theirs"]).max()),
        "seconds": {name: summary(values) for name, values in (times | {"floor": floor}).items()},
        "ratios": {
            "cifar10_distill_over_floor": ratio(times["iteration"], floor),
            "cifar10_distill_over_counted_floor": ratio(
                times["iteration"], [flops["iteration"] / rate for rate in rates]
            ),
            "cifar10_pairs_over_ddim_pipeline": ratio(times["ddim_pipeline"], times["ddim"]),
        },
    }
