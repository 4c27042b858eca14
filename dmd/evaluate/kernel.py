"""The kernel distance (KID) between two sets of features."""

from typing import NamedTuple

import torch
from torch import Tensor

from dmd.evaluate.feature_checks import check_dimensions, check_finite
from dmd.types import Features, Reference


class KernelDistance(NamedTuple):
    """A kernel distance and the standard error of its estimate."""

    mean: float
    standard_error: float


def kernel_distance(
    features: Features, reference: Reference, num_subsets: int = 10, max_subset_size: int = 1000, seed: int = 0
) -> KernelDistance:
    """KID: `unbiased_mmd` averaged over disjoint random subsets of both sets, with its standard error over the subsets.

    Subsets have min(len(features), len(reference)) // num_subsets rows, at most `max_subset_size`. They do not overlap,
    so the estimates are independent and std / sqrt(num_subsets) is their mean's standard error. What is estimated does
    not depend on the subsets' size.

    Raises:
        ValueError: fewer than two subsets, or too few rows for subsets of two.
    """
    size = min(min(len(features), len(reference)) // max(num_subsets, 1), max_subset_size)
    if num_subsets < 2 or size < 2:
        raise ValueError(
            f"{len(features)} and {len(reference)} samples do not give {num_subsets} disjoint subsets of 2 or more; "
            "take at least 2 subsets and 2 samples for each"
        )
    generator = torch.Generator().manual_seed(seed)
    rows, reference_rows = (torch.randperm(len(rows), generator=generator) for rows in (features, reference))
    values = torch.tensor(
        [
            unbiased_mmd(features[rows[start : start + size]], reference[reference_rows[start : start + size]])
            for start in range(0, num_subsets * size, size)
        ],
        dtype=torch.float64,
    )
    return KernelDistance(values.mean().item(), (values.std() / num_subsets**0.5).item())


def _kernel(x: Features, y: Reference) -> Tensor:
    return (x @ y.T / x.shape[1] + 1) ** 3


def unbiased_mmd(first: Features, second: Reference) -> float:
    r"""Unbiased squared maximum mean discrepancy (Bińkowski et al. 2018, eq. 4), kernel `k(x, y) = (x·y / D + 1)³`.

        sum_{i≠j} k(x_i, x_j) / (m (m-1)) + sum_{i≠j} k(y_i, y_j) / (n (n-1)) - 2 sum_ij k(x_i, y_j) / (m n)

    Its mean is zero for equal distributions, so it can be negative.

    Raises:
        ValueError: fewer than two rows, other dimensions, or values that are not finite.
    """
    check_dimensions(first.shape[1], second.shape[1])
    if min(len(first), len(second)) < 2:
        raise ValueError(f"a kernel distance needs at least 2 samples of each, got {len(first)} and {len(second)}")
    check_finite(first, "features")
    check_finite(second, "features")
    x, y = first.double(), second.double()
    within = (_mean_off_diagonal(_kernel(x, x)) + _mean_off_diagonal(_kernel(y, y))).item()
    return within - 2 * _kernel(x, y).mean().item()


def _mean_off_diagonal(kernel: Tensor) -> Tensor:
    count = len(kernel)
    return (kernel.sum() - kernel.trace()) / (count * (count - 1))
