"""The spread of scores over disjoint sets of samples."""

from collections.abc import Mapping, Sequence
from statistics import fmean, stdev

SIZES = ("num_samples", "nfe")
"""Numbers that describe every set alike, and any other `…_num_samples`."""


def over_sets(scores: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Mean of each score over the sets, `<score>_std` beside it, and `num_sets`.

    The standard deviation is that of one set's score, s² = Σ (x - x̄)² / (K - 1): the mean's is s / √K. It is left out
    with a single set, and for standard errors, which are themselves averaged. What every set has alike (`num_samples`)
    is kept as it is.

    Raises:
        ValueError: no sets, sets with other scores, or of other sizes.
    """
    if not scores or any(set(other) != set(scores[0]) for other in scores):
        raise ValueError(f"sets of samples must have the same scores, got {[sorted(item) for item in scores]}")
    merged: dict[str, float] = {}
    for name in scores[0]:
        values = [item[name] for item in scores]
        if name in SIZES or name.endswith("_num_samples"):
            if len(set(values)) > 1:
                raise ValueError(f"sets of samples must have the same {name}, got {values}")
            merged[name] = values[0]
            continue
        merged[name] = fmean(values)
        if len(values) > 1 and not name.endswith("_standard_error"):
            merged[f"{name}_std"] = stdev(values)
    return merged | {"num_sets": len(scores)}
