"""Nearest neighbours in feature space: precision and recall, density and coverage, the nearest image of a set.

All take plain tensors, compute in the features' own precision and refuse values that are not finite.
"""

from typing import NamedTuple

import torch

from dmd.evaluate.feature_checks import check_dimensions, check_finite
from dmd.types import Features, Labels, PerSample, Reference


class Nearest(NamedTuple):
    """For each vector, its nearest of another set."""

    distance: PerSample
    """Euclidean, ≥ 0, [N]."""
    row: Labels
    """The place in the other set, [N]."""


def precision_recall(
    features: Features, reference: Reference, neighbours: int = 3, chunk: int = 2000
) -> tuple[float, float]:
    """Improved precision and recall, each 0 … 1 (Kynkäänniemi et al. 2019, eqs. 1 and 2).

    Precision is the share of `features` within the k-nearest-neighbour ball of any reference vector, recall the share
    of `reference` within that of any feature vector. Both depend on the number of rows: compare equal numbers only.

    Raises:
        ValueError: a set has not more than `neighbours` rows, other dimensions, or values that are not finite.
    """
    _check(features, reference)
    features, reference = _centred(features, reference)
    precision = _balls_around(features, reference, neighbours, chunk)
    recall = _balls_around(reference, features, neighbours, chunk)
    return (precision > 0).double().mean().item(), (recall > 0).double().mean().item()


def density_coverage(
    features: Features, reference: Reference, neighbours: int = 5, chunk: int = 2000
) -> tuple[float, float]:
    """Density, ≥ 0, and coverage, 0 … 1 (Naeem et al. 2020, eqs. 3 and 4); k = 5 is theirs.

    Density is the mean over `features` of the number of reference balls that a vector lies in, over k: 1 in the mean
    for equal distributions. Coverage is the share of reference vectors whose ball holds any feature vector. A ball
    reaches to the k-th nearest other reference vector. Both depend on the number of rows: compare equal numbers only.

    Raises:
        ValueError: a set has not more than `neighbours` rows, other dimensions, or values that are not finite.
    """
    _check(features, reference)
    features, reference = _centred(features, reference)
    density = _balls_around(features, reference, neighbours, chunk).double().mean().item() / neighbours
    radii = _neighbour_distances(reference, neighbours, chunk)
    closest = torch.cat([torch.cdist(part, features).amin(dim=1) for part in reference.split(chunk)])
    return density, (closest <= radii).double().mean().item()


def nearest(features: Features, reference: Reference, chunk: int = 1000) -> Nearest:
    """The nearest reference vector of each feature vector; its distance is exact to rounding, also where it is small.

    Raises:
        ValueError: an empty set, other dimensions, or values that are not finite.
    """
    _check(features, reference)
    if not len(features) or not len(reference):
        raise ValueError(f"no nearest of {len(reference)} for {len(features)} vectors: a set is empty")
    centred, others = _centred(features, reference)
    row = torch.cat([torch.cdist(part, others).argmin(dim=1) for part in centred.split(chunk)])
    return Nearest((features - reference[row]).norm(dim=1), row)


def _balls_around(points: Features, centres: Reference, neighbours: int, chunk: int) -> Labels:
    """For each point, in how many balls it lies; a ball reaches from a centre to its k-th nearest other centre."""
    radii = _neighbour_distances(centres, neighbours, chunk)
    return torch.cat([(torch.cdist(part, centres) <= radii).sum(dim=1) for part in points.split(chunk)])


def _neighbour_distances(points: Features, neighbours: int, chunk: int) -> PerSample:
    """Distance of each point to its k-th nearest other point; the point itself is the nearest of all."""
    if len(points) <= neighbours:
        raise ValueError(f"{len(points)} samples have no {neighbours} nearest neighbours each; draw more")
    parts = [torch.cdist(part, points).kthvalue(neighbours + 1, dim=1).values for part in points.split(chunk)]
    return torch.cat(parts)


def _centred(features: Features, reference: Reference) -> tuple[Features, Reference]:
    """Both less the mean of the second: distances stay, and rounding falls."""
    centre = reference.mean(0)
    return features - centre, reference - centre


def _check(features: Features, reference: Reference) -> None:
    check_dimensions(features.shape[1], reference.shape[1])
    check_finite(features, "features")
    check_finite(reference, "features")
