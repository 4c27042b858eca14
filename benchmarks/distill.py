"""An iteration of the distillation: against the floor of its network passes, and against the textbook loop."""

import itertools
from typing import Any

from benchmarks.repeats import combine, ratio, summary
from benchmarks.shipped import Shipped, count_flops
from benchmarks.textbook import TextbookLoop
from benchmarks.workers import Jobs, Plan, Worker, in_turns

ITERATIONS = 2
PASSES = 4


def ours() -> Jobs:
    """This project's iteration, and the plain forward passes of its batch sizes in the same process."""
    shipped = Shipped()
    settings = shipped.config.distill
    single, double = settings.batch_size, settings.batch_size + settings.pairs_batch_size
    forward = {"forward": shipped.forward(single), "forward_both": shipped.forward(double)}
    flops = {name: count_flops(run) for name, run in forward.items()}
    distiller = shipped.distiller(shipped.write_pairs(8 * settings.pairs_batch_size))
    steps = itertools.count()
    jobs: dict[str, Any] = {name: lambda run=run: [run() for _ in range(PASSES)] for name, run in forward.items()}
    jobs["iteration"] = lambda: [distiller.step(next(steps)) for _ in range(ITERATIONS)] and None
    return jobs | {"flops": lambda: flops | {"iteration": count_flops(lambda: distiller.step(next(steps)))}}


def textbook() -> Jobs:
    """The plain loop."""
    loop = TextbookLoop(Shipped())
    return {"iteration": lambda: [loop() for _ in range(ITERATIONS)]}


def floor_weights(guided: bool, num_fake_updates: int) -> dict[str, float]:
    """Passes of an iteration by batch: a backward pass counts as two forward ones (DMD's losses, one update each).

    The generator's forward and backward pass on both halves is 3 of the double batch; a guided real score is one more
    of it, else one single; the fake score is 1 single, and each update of it 3, with 1 to draw anew after the first.
    """
    updates = 3 * num_fake_updates + (num_fake_updates - 1)
    return {"forward_both": 3.0 + guided, "forward": 1.0 + (not guided) + updates}


def measure(plan: Plan) -> dict[str, Any]:
    """Seconds of an iteration and of a pass, the floor, and the two ratios."""
    our_side, their_side = Worker(ours, tuned=True), Worker(textbook, tuned=False)
    sides = {
        "forward": (our_side, "forward"),
        "forward_both": (our_side, "forward_both"),
        "iteration": (our_side, "iteration"),
        "textbook": (their_side, "iteration"),
    }
    times, facts = in_turns(sides, plan, finally_ask={"flops": (our_side, "flops")})
    per_pass = {name: [value / PASSES for value in times[name]] for name in ("forward", "forward_both")}
    iteration, plain = ([value / ITERATIONS for value in times[name]] for name in ("iteration", "textbook"))
    config = Shipped().config
    floor = combine(floor_weights(config.guidance_scale != 1.0, config.distill.num_fake_updates), per_pass)
    flops = facts["flops"]
    rates = [flops["forward"] / value for value in per_pass["forward"]]
    return {
        "seconds": {name: summary(values) for name, values in {**per_pass, "iteration": iteration}.items()}
        | {"textbook": summary(plain), "floor": summary(floor)},
        "flops": flops,
        "flops_per_second": summary(rates),
        "counted_over_achieved_rate": summary(
            [value * rate / flops["iteration"] for value, rate in zip(iteration, rates, strict=True)]
        ),
        "ratios": {"distill_over_floor": ratio(iteration, floor), "distill_over_textbook": ratio(plain, iteration)},
    }
