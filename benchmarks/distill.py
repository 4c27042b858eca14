"""An iteration of the distillation: against the floor of its network passes, and against the textbook loop."""

import itertools
from typing import Any

import torch

from benchmarks.repeats import Seconds, combine, ratio, summary
from benchmarks.shipped import Shipped, count_flops
from benchmarks.textbook import TextbookLoop
from benchmarks.workers import Jobs, Plan, Worker, in_turns, repeated

Times = dict[str, Seconds]
ITERATIONS = 2
PASSES = 4
AVERAGES = 20


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
    """The plain loop; and its running average, parameter by parameter and all at once, `AVERAGES` times."""
    loop = TextbookLoop(Shipped())
    kept, new = (list(net.parameters()) for net in (loop.average, loop.generator))

    def foreach() -> None:
        with torch.no_grad():
            torch._foreach_lerp_(kept, new, 0.01)

    return {
        "iteration": repeated(loop, ITERATIONS),
        "average": repeated(loop.keep_average, AVERAGES),
        "average_foreach": repeated(foreach, AVERAGES),
    }


def floor_weights(guided: bool, num_fake_updates: int) -> dict[str, float]:
    """Passes of an iteration by batch: a backward pass counts as two forward ones (DMD's losses, one update each).

    The generator's forward and backward pass on both halves is 3 of the double batch; a guided real score is one more
    of it, else one single; the fake score is 1 single, and each update of it 3, with 1 to draw anew after the first.
    """
    updates = 3 * num_fake_updates + (num_fake_updates - 1)
    return {"forward_both": 3.0 + guided, "forward": 1.0 + (not guided) + updates}


def differences(per_pass: Times, averages: Times, plain: Seconds, kept: Seconds) -> dict[str, Any]:
    """What each difference from the textbook's loop is worth, as a share of its iteration.

    Freed memory kept; the two halves in one pass, forward and backward; the running average all at once.
    """
    separate = [3 * (2 * one - both) for one, both in zip(per_pass["forward"], per_pass["forward_both"], strict=True)]
    average = [one - other for one, other in zip(averages["average"], averages["average_foreach"], strict=True)]
    memory = [a - b for a, b in zip(plain, kept, strict=True)]
    shares = {"memory_kept": memory, "one_pass_over_both_halves": separate, "foreach_average": average}
    return {f"textbook_share_{name}": ratio(seconds, plain) for name, seconds in shares.items()}


def measure(plan: Plan) -> dict[str, Any]:
    """Seconds of an iteration and of a pass, the floor, and the two ratios."""
    our_side, their_side = Worker(ours, tuned=True), Worker(textbook, tuned=False)
    kept_side = Worker(textbook, tuned=True)
    sides = {
        "forward": (our_side, "forward"),
        "forward_both": (our_side, "forward_both"),
        "iteration": (our_side, "iteration"),
        "textbook": (their_side, "iteration"),
        "textbook_memory_kept": (kept_side, "iteration"),
        "average": (kept_side, "average"),
        "average_foreach": (kept_side, "average_foreach"),
    }
    times, facts = in_turns(sides, plan, finally_ask={"flops": (our_side, "flops")})
    per_pass = {name: [value / PASSES for value in times[name]] for name in ("forward", "forward_both")}
    loops = ("iteration", "textbook", "textbook_memory_kept")
    iteration, plain, kept = ([value / ITERATIONS for value in times[name]] for name in loops)
    averages = {name: [value / AVERAGES for value in times[name]] for name in ("average", "average_foreach")}
    config = Shipped().config
    floor = combine(floor_weights(config.guidance_scale != 1.0, config.distill.num_fake_updates), per_pass)
    flops = facts["flops"]
    rates = [flops["forward"] / value for value in per_pass["forward"]]
    return {
        "seconds": {name: summary(values) for name, values in {**per_pass, **averages, "iteration": iteration}.items()}
        | {"textbook": summary(plain), "textbook_memory_kept": summary(kept), "floor": summary(floor)},
        "flops": flops,
        "flops_per_second": summary(rates),
        "counted_over_achieved_rate": summary(
            [value * rate / flops["iteration"] for value, rate in zip(iteration, rates, strict=True)]
        ),
        "ratios": {"distill_over_floor": ratio(iteration, floor), "distill_over_textbook": ratio(plain, iteration)}
        | differences(per_pass, averages, plain, kept),
    }
