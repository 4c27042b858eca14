"""Matrix products, convolutions and attention of a run: how many operations they are, and how much of its time."""

import re
from collections.abc import Callable
from typing import Any

from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.profiler import ProfilerActivity, profile, record_function
from torch.utils.flop_counter import FlopCounterMode

SHARES = 5
"""Runs whose shares are taken."""

PRODUCTS = re.compile(r"conv|mm|dot_product")
"""What a torch operation that is counted has in its name, forward or backward."""


def count_flops(run: Callable[[], Any]) -> int:
    """Operations of matrix products and convolutions in `run`, attention by plain products; a multiply-add counts as 2.

    The fused attention of a CPU is not counted by torch, hence the plain one.
    """
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def shares_of_products(run: Callable[[], Any]) -> list[float]:
    """Share of the time of `run`, on a CPU, in the operations that `count_flops` counts; of several runs.

    With all else made free, the same operations by the same kernels would still take that share: 1 ÷ it is the most
    that can be gained.
    """
    return [_share(run) for _ in range(SHARES)]


def _share(run: Callable[[], Any]) -> float:
    with profile(activities=[ProfilerActivity.CPU]) as profiler, record_function("run"):
        run()
    events = profiler.key_averages()
    whole = next(event.cpu_time_total for event in events if event.key == "run")
    products = [event for event in events if event.key.startswith("aten::") and PRODUCTS.search(event.key)]
    return sum(event.self_cpu_time_total for event in products) / whole
