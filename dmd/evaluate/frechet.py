"""The Fréchet distance between sets of feature vectors, from their moments: in float64, values not finite refused."""

from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

from dmd.evaluate.feature_checks import check_dimensions, check_finite
from dmd.types import Features

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


def _root(covariance: Tensor) -> Tensor:
    """The symmetric square root; eigenvalues that rounding put below zero count as zero."""
    values, vectors = torch.linalg.eigh(covariance)
    if values[0] < -NEGATIVE_TOLERANCE * max(values[-1].item(), torch.finfo(values.dtype).tiny):
        raise ValueError(f"a covariance has the eigenvalue {values[0].item():.3g}: it is not positive semi-definite")
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.T
