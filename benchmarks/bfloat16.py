"""What `distill.mixed_precision: bf16` gives: an iteration, beside the plain one and the textbook's loop."""

from typing import Any

from benchmarks import distill
from benchmarks.repeats import ratio, summary
from benchmarks.workers import Plan, Worker, in_turns


def measure(plan: Plan) -> dict[str, Any]:
    """Seconds of an iteration in bfloat16, in float32 and of the textbook's loop, and the ratios."""
    sides = {
        "iteration_bfloat16": (Worker(distill.ours, "bf16", tuned=True), "iteration"),
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
