"""Distances between sets of feature vectors: Fréchet, and kernel (KID).

All take plain tensors, compute in float64 and refuse values that are not finite.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float64
from torch import Tensor

from dmd.evaluate.feature_checks import check_dimensions, check_finite
from dmd.types import Features, Reference

NEGATIVE_TOLERANCE = 1e-8
"""Eigenvalues of a covariance may lie below zero by rounding, by so much of the largest one."""


@dataclass(frozen=True)
class Moments:
    """Count, mean and scatter `sum_i (f_i - mean)(f_i - mean)^T` of feature vectors; merged batch by batch.

    Memory is D² whatever the count.
    """

    count: int
    mean: Float64[Tensor, " dimensions"]
    scatter: Float64[Tensor, "dimensions dimensions"]

    @classmethod
    def of(cls, features: Features) -> "Moments":
        """Moments of one batch [B, D], B ≥ 1.

        Raises:
            ValueError: the batch is empty or has values that are not finite.
        """
        check_finite(features, "features")
        if not len(features):
            raise ValueError("moments of no features: the batch is empty; draw at least one sample")
        features = features.double()
        mean = features.mean(0)
        centred = features - mean
        return cls(len(features), mean, centred.T @ centred)

    def merge(self, other: "Moments") -> "Moments":
        """Moments of both sets together (Chan, Golub & LeVeque 1983, eq. 2.1).

        Raises:
            ValueError: the two differ in dimensions.
        """
        check_dimensions(len(self.mean), len(other.mean))
        count = self.count + other.count
        delta = other.mean - self.mean
        between = torch.outer(delta, delta) * (self.count * other.count / count)
        return Moments(count, self.mean + delta * (other.count / count), self.scatter + other.scatter + between)

    @property
    def covariance(self) -> Float64[Tensor, "dimensions dimensions"]:
        """Unbiased covariance, scatter / (count - 1).

        Raises:
            ValueError: fewer than two samples.
        """
        if self.count < 2:
            raise ValueError(f"a covariance needs at least 2 samples, got {self.count}; raise evaluate.num_samples")
        return self.scatter / (self.count - 1)


def frechet_distance(first: Moments, second: Moments) -> float:
    r"""Squared Fréchet distance of two Gaussians, ≥ 0 (Dowson & Landau 1982, eq. 4; as FID: Heusel et al. 2017, eq. 6).

        d² = |m1 - m2|² + tr S1 + tr S2 - 2 tr (S1^½ S2 S1^½)^½

    The last trace is the sum of the singular values of `S1^½ S2^½`, both roots from symmetric eigen-decompositions: no
    general matrix root, so nothing imaginary. Singular covariances (constant features, fewer samples than dimensions)
    have an exact answer too, but few samples bias the distance upwards. Rounding below zero comes back as 0.

    Raises:
        ValueError: the two differ in dimensions, have fewer than two samples, or values that are not finite.
    """
    check_dimensions(len(first.mean), len(second.mean))
    covariances = first.covariance, second.covariance
    for moments, covariance in zip((first, second), covariances, strict=True):
        check_finite(moments.mean, "means")
        check_finite(covariance, "covariances")
    root_first, root_second = (_root(covariance) for covariance in covariances)
    cross = torch.linalg.svdvals(root_first @ root_second).sum()
    spread = covariances[0].trace() + covariances[1].trace() - 2 * cross
    return max(0.0, float((first.mean - second.mean).square().sum() + spread))


class KernelDistance(NamedTuple):
    """A kernel distance and the standard error of its estimate."""

    mean: float
    standard_error: float


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


def _mean_off_diagonal(kernel: Tensor) -> Tensor:
    count = len(kernel)
    return (kernel.sum() - kernel.trace()) / (count * (count - 1))


def _root(covariance: Tensor) -> Tensor:
    """The symmetric square root; eigenvalues that rounding put below zero count as zero."""
    values, vectors = torch.linalg.eigh(covariance)
    if values[0] < -NEGATIVE_TOLERANCE * max(values[-1].item(), torch.finfo(values.dtype).tiny):
        raise ValueError(f"a covariance has the eigenvalue {values[0].item():.3g}: it is not positive semi-definite")
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.T
