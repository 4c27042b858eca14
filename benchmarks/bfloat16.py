"""What bfloat16 gives: an iteration as `accelerate launch --mixed_precision bf16` runs it, beside the plain one."""

import os
from typing import Any

from benchmarks import distill
from benchmarks.repeats import ratio, summary
from benchmarks.workers import Jobs, Plan, Worker, in_turns


def iterations() -> Jobs:
    """The iteration of `benchmarks/distill.py` under autocast; weights, their average and AdamW stay float32."""
    os.environ["ACCELERATE_MIXED_PRECISION"] = "bf16"  # what accelerate's launcher sets
    return {"iteration": distill.ours()["iteration"]}


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
