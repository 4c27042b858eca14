"""An iteration of the distillation: against the floor of its network passes, and against the textbook loop."""

import copy
import itertools
from typing import Any

import torch
from torch import nn
from torch.optim import AdamW

from benchmarks.operations import count_flops, shares_of_products
from benchmarks.repeats import Seconds, combine, ratio, summary
from benchmarks.shipped import Shipped
from benchmarks.textbook import TextbookLoop
from benchmarks.workers import Jobs, Plan, Worker, in_turns, repeated
from dmd.params.section import MixedPrecision

Times = dict[str, Seconds]
ITERATIONS = 2
PASSES = 4
AVERAGES = 20
PARTS = ("average", "average_foreach", "adamw", "adamw_fused")


def ours(precision: MixedPrecision = None) -> Jobs:
    """This project's iteration, and the plain forward passes of its batch sizes in the same process."""
    shipped = Shipped()
    settings = shipped.config.distill
    single, double = settings.batch_size, settings.batch_size + settings.pairs_batch_size
    forward = {"forward": shipped.forward(single), "forward_both": shipped.forward(double)}
    flops = {name: count_flops(run) for name, run in forward.items()}
    distiller = shipped.distiller(shipped.write_pairs(8 * settings.pairs_batch_size), mixed_precision=precision)
    steps = itertools.count()
    jobs: dict[str, Any] = {name: repeated(run, PASSES) for name, run in forward.items()}

    def iteration() -> None:
        distiller.step(next(steps))

    return jobs | {
        "iteration": repeated(iteration, ITERATIONS),
        "flops": lambda: flops | {"iteration": count_flops(iteration)},
        "products": lambda: shares_of_products(iteration),
    }


def textbook() -> Jobs:
    """The plain loop; and `AVERAGES` times its update and its running average, as it has them and as they are here.

    The updates are with a rate and gradients of zero: that costs the same, and leaves the loop where it is.
    """
    loop = TextbookLoop(Shipped())
    updates = {
        "adamw": AdamW(zero_gradients(loop), lr=0.0),
        "adamw_fused": AdamW(zero_gradients(loop), 0.0, fused=True),
    }
    kept, new = (list(net.parameters()) for net in (loop.average, loop.generator))

    def foreach() -> None:
        with torch.no_grad():
            torch._foreach_lerp_(kept, new, 0.01)

    return {
        "iteration": repeated(loop, ITERATIONS),
        "products": lambda: shares_of_products(loop),
        "average": repeated(loop.keep_average, AVERAGES),
        "average_foreach": repeated(foreach, AVERAGES),
        **{name: repeated(optimizer.step, AVERAGES) for name, optimizer in updates.items()},
    }


def zero_gradients(loop: TextbookLoop) -> list[nn.Parameter]:
    """A copy of the generator's parameters, with gradients of zero."""
    parameters = list(copy.deepcopy(loop.generator).parameters())
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    return parameters


def floor_weights(guided: bool, num_fake_updates: int) -> dict[str, float]:
    """Passes of an iteration by batch: a backward pass counts as two forward ones (DMD's losses, one update each).

    The generator's forward and backward pass on both halves is 3 of the double batch; a guided real score is one more
    of it, else one single; the fake score is 1 single, and each update of it 3, with 1 to draw anew after the first.
    """
    updates = 3 * num_fake_updates + (num_fake_updates - 1)
    return {"forward_both": 3.0 + guided, "forward": 1.0 + (not guided) + updates}


def differences(per_pass: Times, parts: Times, plain: Seconds, kept: Seconds, guided: bool) -> dict[str, Any]:
    """What a difference from the textbook's loop is worth, as a share of its iteration.

    Freed memory kept; the two halves in one pass, forward and backward; the guided real score in one pass; the running
    average all at once; both networks' updates by the fused kernel.
    """
    apart = combine({"forward": 2.0, "forward_both": -1.0}, per_pass)
    seconds = {
        "memory_kept": combine({"plain": 1.0, "kept": -1.0}, {"plain": plain, "kept": kept}),
        "one_pass_over_both_halves": [3 * value for value in apart],
        "guided_in_one_pass": [guided * value for value in apart],
        "foreach_average": combine({"average": 1.0, "average_foreach": -1.0}, parts),
        "fused_adamw": combine({"adamw": 2.0, "adamw_fused": -2.0}, parts),
    }
    return {f"textbook_share_{name}": ratio(values, plain) for name, values in seconds.items()}


def measure(plan: Plan) -> dict[str, Any]:
    """Seconds of an iteration and of a pass, the floor, and the two ratios."""
    our_side, their_side = Worker(ours, tuned=True), Worker(textbook, tuned=False)
    kept_side = Worker(textbook, tuned=True)
    sides = {name: (our_side, name) for name in ("forward", "forward_both", "iteration")}
    sides |= {"textbook": (their_side, "iteration"), "textbook_memory_kept": (kept_side, "iteration")}
    sides |= {name: (kept_side, name) for name in PARTS}
    asked = {name: (our_side, name) for name in ("flops", "products")} | {"textbook_products": (kept_side, "products")}
    times, facts = in_turns(sides, plan, finally_ask=asked)
    per_pass = {name: [value / PASSES for value in times[name]] for name in ("forward", "forward_both")}
    loops = ("iteration", "textbook", "textbook_memory_kept")
    iteration, plain, kept = ([value / ITERATIONS for value in times[name]] for name in loops)
    parts = {name: [value / AVERAGES for value in times[name]] for name in PARTS}
    config, flops = Shipped().config, facts["flops"]
    guided = config.guidance_scale != 1.0
    floor = combine(floor_weights(guided, config.distill.num_fake_updates), per_pass)
    rates = [flops["forward"] / value for value in per_pass["forward"]]
    seconds = {**per_pass, **parts, "iteration": iteration, "floor": floor}
    seconds |= {"textbook": plain, "textbook_memory_kept": kept}
    return {
        "network": config.system,
        "batch": config.distill.batch_size,
        "seconds": {name: summary(values) for name, values in seconds.items()},
        "flops": flops,
        "flops_per_second": summary(rates),
        "ratios": {
            "distill_over_floor": ratio(iteration, floor),
            "distill_over_counted_floor": ratio(iteration, [flops["iteration"] / rate for rate in rates]),
            "distill_over_textbook": ratio(plain, iteration),
            "distill_over_textbook_memory_kept": ratio(kept, iteration),
            "distill_share_products": summary(facts["products"]),
            "textbook_share_products": summary(facts["textbook_products"]),
        }
        | differences(per_pass, parts, plain, kept, guided),
    }
