"""Scores of a set of images against the real ones, from the summaries of both."""

from collections.abc import Mapping, Sequence
from statistics import fmean, stdev

import torch
from torch import nn

from dmd.evaluate.frechet import frechet_distance
from dmd.evaluate.kernel import kernel_distance
from dmd.evaluate.neighbours import density_coverage, nearest, precision_recall
from dmd.evaluate.summaries import MAX_KEPT, Summary
from dmd.types import Features, Images, PerSample, Reference

NUM_NEIGHBOURS = 3
"""Of precision and recall, as in the paper."""

NUM_NEIGHBOURS_COVERAGE = 5
"""Of density and coverage, as in the paper."""

CHUNK = 50
"""Images a call of a perceptual distance."""


def distance_name(features: str) -> str:
    """The Fréchet distance's name in these features: `fid` for FID's Inception network alone, else `fd_<features>`."""
    return "fid" if features == "inception" else f"fd_{features}"


def score(summary: Summary, reference: Summary, name: str, seed: int) -> dict[str, float]:
    """Scores of a set of images against the real ones, by the names of `metrics.json`.

    `fd_<name>` (or `fid`), `kid_<name>` with its standard error, `precision`, `recall`, `density`, `coverage`,
    `nearest_train_distance`, `brightness_drift`, `contrast_drift`, `class_accuracy` where there are labels, and
    `num_samples`. docs/evaluation.md says what each is.

    Args:
        summary: of the images that are scored.
        reference: of the real images. All its kept features are searched for the nearest; the other neighbour scores
            take as many of them, evenly spaced, as `summary` kept.
        name: the feature net's.
        seed: draws the subsets of the kernel distance.

    Raises:
        ValueError: too few samples for one of the distances.
    """
    real = thinned(reference.features, MAX_KEPT)
    kernel = kernel_distance(summary.features, real, seed=seed)
    equal = thinned(reference.features, len(summary.features))
    precision, recall = precision_recall(summary.features, equal, NUM_NEIGHBOURS)
    density, coverage = density_coverage(summary.features, equal, NUM_NEIGHBOURS_COVERAGE)
    drift = summary.light - reference.light
    scores = {
        distance_name(name): frechet_distance(summary.moments, reference.moments),
        f"kid_{name}": kernel.mean,
        f"kid_{name}_standard_error": kernel.standard_error,
        "precision": precision,
        "recall": recall,
        "density": density,
        "coverage": coverage,
        "nearest_train_distance": nearest(summary.features, reference.features).distance.mean().item(),
        "brightness_drift": drift[0].item(),
        "contrast_drift": drift[1].item(),
        "num_samples": summary.moments.count,
    }
    return scores if summary.class_accuracy is None else scores | {"class_accuracy": summary.class_accuracy}


def thinned(features: Features, count: int) -> Reference:
    """At most `count` rows, evenly spaced: row i where floor(i · count / N) steps up."""
    share, places = min(count, len(features)), torch.arange(len(features), device=features.device)
    return features[(places + 1) * share // len(features) > places * share // len(features)]


def perceptual_stem(name: str) -> str:
    """The distance as the scores name it: `lpips` for LPIPS with any backbone, else its whole name."""
    return "lpips" if name.startswith("lpips-") else name.replace("-", "_")


@torch.no_grad()
def diversity(images: Images, perceptual: nn.Module, seed: int) -> float:
    """Mean perceptual distance of disjoint random pairs of the images: unbiased for two independent samples.

    Raises:
        ValueError: fewer than two images.
    """
    if len(images) < 2:
        raise ValueError(f"a diversity needs at least 2 images, got {len(images)}; raise evaluate.num_samples")
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed)).to(images.device)
    half = len(images) // 2
    return _distances(images[order[:half]], images[order[half : 2 * half]], perceptual).mean().item()


@torch.no_grad()
def perceptual_distance(images: Images, others: Images, perceptual: nn.Module) -> float:
    """Mean perceptual distance of images drawn from the same noises, one to one."""
    return _distances(images, others, perceptual).mean().item()


def _distances(x: Images, y: Images, perceptual: nn.Module) -> PerSample:
    return torch.cat([perceptual(a, b) for a, b in zip(x.split(CHUNK), y.split(CHUNK), strict=True)])


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
