"""The same feature arrays through other libraries' own functions, and through ours."""

import warnings
from collections.abc import Callable

import cleanfid.fid
import numpy as np
import prdc
import pytest
import pytorch_fid.fid_score
import torch
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_prc import prc_features_to_metric

from dmd.evaluate.frechet import Moments, frechet_distance
from dmd.evaluate.kernel import unbiased_mmd
from dmd.evaluate.neighbours import density_coverage, precision_recall

pytestmark = pytest.mark.maths


def features(count: int, dimensions: int, seed: int, shift: float = 0.0) -> torch.Tensor:
    """Correlated, of unequal scales and not negative, as a network's are."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(dimensions, dimensions, generator=torch.Generator().manual_seed(9)) / dimensions**0.5
    scales = torch.logspace(0, -2, dimensions)
    return (torch.randn(count, dimensions, generator=generator) * scales @ mixing + shift).relu()


def torch_fidelity(first: torch.Tensor, second: torch.Tensor) -> float:
    statistics = fid_features_to_statistics(first), fid_features_to_statistics(second)
    return fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]


def by_statistics(distance: Callable[..., float]) -> Callable[[torch.Tensor, torch.Tensor], float]:
    def compute(first: torch.Tensor, second: torch.Tensor) -> float:
        arrays = first.double().numpy(), second.double().numpy()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # they ask scipy for a root in an old spelling
            return float(distance(*(part for x in arrays for part in (x.mean(0), np.cov(x, rowvar=False)))))

    return compute


@pytest.mark.parametrize(
    "theirs",
    [
        torch_fidelity,
        by_statistics(pytorch_fid.fid_score.calculate_frechet_distance),
        by_statistics(cleanfid.fid.frechet_distance),
    ],
    ids=["torch-fidelity", "pytorch-fid", "clean-fid"],
)
@pytest.mark.parametrize(("count", "dimensions"), [(3000, 16), (1200, 128)])
def test_frechet_distance(theirs: Callable[..., float], count: int, dimensions: int) -> None:
    first, second = features(count, dimensions, 1), features(count + 50, dimensions, 2, shift=0.1)
    ours = frechet_distance(Moments.of(first), Moments.of(second))
    assert ours == pytest.approx(theirs(first, second), rel=1e-6)


def test_kernel_distance_on_clean_fids_own_subsets() -> None:
    first, second, subsets, size = features(300, 32, 3), features(250, 32, 4, shift=0.2), 8, 200
    np.random.seed(0)
    theirs = cleanfid.fid.kernel_distance(
        first.double().numpy(), second.double().numpy(), num_subsets=subsets, max_subset_size=size
    )
    np.random.seed(0)
    values = []
    for _ in range(subsets):
        others = np.random.choice(len(second), size, replace=False)
        rows = np.random.choice(len(first), size, replace=False)
        values.append(unbiased_mmd(first[rows], second[others]))
    assert np.mean(values) == pytest.approx(theirs, rel=1e-4)


@pytest.mark.parametrize("neighbours", [3, 5])
def test_neighbour_scores_of_the_authors_package(neighbours: int) -> None:
    real, fake = features(300, 16, 5).double(), features(280, 16, 6, shift=0.05).double()
    theirs = prdc.compute_prdc(real.numpy(), fake.numpy(), nearest_k=neighbours)
    assert precision_recall(fake, real, neighbours) == pytest.approx((theirs["precision"], theirs["recall"]))
    assert density_coverage(fake, real, neighbours) == pytest.approx((theirs["density"], theirs["coverage"]))
    assert 0.3 < theirs["precision"] < 1
    assert 0.3 < theirs["coverage"] < 1


def test_precision_and_recall_of_torch_fidelity() -> None:
    real, fake = features(300, 16, 7), features(280, 16, 8, shift=0.05)
    theirs = prc_features_to_metric(fake, real, prc_neighborhood=3, prc_batch_size=100, verbose=False)
    precision, recall = precision_recall(fake, real, 3)
    assert (precision, recall) == pytest.approx((theirs["precision"], theirs["recall"]))
