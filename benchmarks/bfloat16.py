"""What `distill.mixed_precision: bf16` gives: an iteration, beside the plain one and the textbook's loop."""

import itertools
from typing import Any

from benchmarks import distill
from benchmarks.repeats import ratio, summary
from benchmarks.shipped import Shipped
from benchmarks.workers import Jobs, Plan, Worker, in_turns, repeated


def iterations() -> Jobs:
    """The iteration of `benchmarks/distill.py` under autocast; weights, their average and AdamW stay float32."""
    shipped = Shipped()
    pairs = shipped.write_pairs(8 * shipped.config.distill.pairs_batch_size)
    distiller, steps = shipped.distiller(pairs, mixed_precision="bf16"), itertools.count()
    return {"iteration": repeated(lambda: distiller.step(next(steps)), distill.ITERATIONS)}


def measure(plan: Plan) -> dict[str, Any]:
    """Seconds of an iteration in bfloat16, in float32 and of the textbook's loop, and the ratios."""
    sides = {
        "iteration_bfloat16": (Worker(iterations, tuned=True), "iteration"),
        "iteration": (Worker(distill.ours, tuned=True), "iteration"),
        "textbook": (Worker(distill.textbook, tuned=False), "iteration"),
    }
    times, _ = in_turns(sides, plan)
    times = {name: [value / distill.ITERATIONS for value in values] for name, values in times.items()}
    return {
        "seconds": {name: summary(values) for name, values in times.items()},
        "ratios": {
            "distill_bfloat16_over_plain": ratio(times["iteration_bfloat16"], times["iteration"]),
            "distill_bfloat16_over_textbook": ratio(times["textbook"], times["iteration_bfloat16"]),
        },
    }
