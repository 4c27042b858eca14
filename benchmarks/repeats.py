"""Repeated measurements: medians, spreads and ratios of sides that were measured in turns."""

import statistics
from collections.abc import Sequence
from typing import Any

Seconds = list[float]
"""Seconds of each repeat, by the clock that was asked for."""


def summary(values: Sequence[float]) -> dict[str, Any]:
    """Median, smallest, largest and all of `values`."""
    return {"median": statistics.median(values), "low": min(values), "high": max(values), "repeats": list(values)}


def ratio(above: Sequence[float], below: Sequence[float], factor: float = 1.0) -> dict[str, Any]:
    """`summary` of factor · above / below, repeat by repeat, so that a slow minute hits both sides.

    Raises:
        ValueError: the sides have different numbers of repeats.
    """
    return summary([factor * a / b for a, b in zip(above, below, strict=True)])


def combine(weights: dict[str, float], measured: dict[str, Seconds]) -> Seconds:
    """Sum of weight times seconds over the named sides, repeat by repeat."""
    rounds = zip(*(measured[name] for name in weights), strict=True)
    return [sum(w * value for w, value in zip(weights.values(), values, strict=True)) for values in rounds]
