"""What `distill.compile` and `pairs.compile` give: an iteration and a batch of pairs, compiled, beside plain ones."""

import itertools
from typing import Any

import numpy as np
import torch

from benchmarks import distill, pairs
from benchmarks.repeats import ratio, summary
from benchmarks.shipped import Shipped
from benchmarks.workers import Jobs, Plan, Worker, in_turns, repeated, timed
from dmd.training.compile import compile_network


def iterations() -> Jobs:
    """The iteration of `benchmarks/distill.py`, compiled before it is first timed."""
    shipped = Shipped()
    distiller = shipped.distiller(shipped.write_pairs(8 * shipped.config.distill.pairs_batch_size), compile=True)
    steps = itertools.count()
    seconds, _ = timed(lambda: distiller.step(next(steps)))
    run = repeated(lambda: distiller.step(next(steps)), distill.ITERATIONS)
    return {"iteration": run, "compilation": lambda: seconds}


def batches(count: int) -> Jobs:
    """The DDIM of `benchmarks/pairs.py`, compiled."""
    shipped = Shipped()
    compile_network(shipped.teacher.backbone, torch.device("cpu"), "pairs.compile")
    seconds, _ = timed(pairs.pictures(shipped, count, steps=1))
    return {"ddim": pairs.pictures(shipped, count), "compilation": lambda: seconds}


def measure(plan: Plan) -> dict[str, Any]:
    """Seconds compiled and plain, of the textbook's loop and of diffusers' `DDIMPipeline`, and the ratios."""
    count = Shipped().config.pairs.batch_size
    trained, drawn = Worker(iterations, tuned=True), Worker(batches, count, tuned=True)
    plain, their_pairs = Worker(pairs.ours, count, tuned=True), Worker(pairs.theirs, count, tuned=False)
    sides = {
        "iteration_compiled": (trained, "iteration"),
        "iteration": (Worker(distill.ours, tuned=True), "iteration"),
        "textbook": (Worker(distill.textbook, tuned=False), "iteration"),
        "ddim_compiled": (drawn, "ddim"),
        "ddim": (plain, "ddim"),
        "ddim_pipeline": (their_pairs, "ddim"),
    }
    asked = {
        "distill": (trained, "compilation"),
        "pairs": (drawn, "compilation"),
        "ours": (drawn, "ddim"),
        "theirs": (their_pairs, "ddim"),
    }
    times, facts = in_turns(sides, plan, finally_ask=asked)
    for name in ("iteration_compiled", "iteration", "textbook"):
        times[name] = [value / distill.ITERATIONS for value in times[name]]
    return {
        "batch": count,
        "largest_difference_of_compiled_images": float(np.abs(facts["ours"] - facts["theirs"]).max()),
        "seconds": {name: summary(values) for name, values in times.items()}
        | {f"compilation_of_{name}": summary([facts[name][plan.clock]]) for name in ("distill", "pairs")},
        "ratios": {
            "distill_compiled_over_plain": ratio(times["iteration_compiled"], times["iteration"]),
            "distill_compiled_over_textbook": ratio(times["textbook"], times["iteration_compiled"]),
            "pairs_compiled_over_plain": ratio(times["ddim_compiled"], times["ddim"]),
            "pairs_compiled_over_ddim_pipeline": ratio(times["ddim_pipeline"], times["ddim_compiled"]),
        },
    }
