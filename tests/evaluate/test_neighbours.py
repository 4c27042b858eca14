"""Precision, recall, density, coverage and the nearest vector: against their definitions, and the authors' package."""

import numpy as np
import pytest
import torch

from dmd.evaluate.neighbours import density_coverage, nearest, precision_recall

pytestmark = pytest.mark.maths


def normal(count: int, dimensions: int, seed: int, scale: float = 1.0, shift: float = 0.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(count, dimensions, generator=generator, dtype=torch.float64) + shift


def test_precision_and_recall_against_their_definition() -> None:
    """By hand: numpy distances, sorted, one point at a time."""
    first, second = normal(60, 3, 21).numpy(), normal(80, 3, 22, scale=1.4).numpy()

    def inside(points: np.ndarray, centres: np.ndarray) -> float:
        radii = [np.sort(np.linalg.norm(centres - centre, axis=1))[3] for centre in centres]
        return float(np.mean([np.any(np.linalg.norm(centres - point, axis=1) <= radii) for point in points]))

    ours = precision_recall(torch.from_numpy(first), torch.from_numpy(second), neighbours=3, chunk=17)
    assert ours == pytest.approx((inside(first, second), inside(second, first)))


def test_precision_and_recall_tell_collapse_from_noise() -> None:
    """A collapsed set is precise and covers nothing; a set too wide covers but is not precise."""
    real = normal(400, 4, 23)
    precision, recall = precision_recall(real[:1] + 1e-3 * normal(400, 4, 24), real)
    assert precision == 1
    assert recall < 0.02
    precision, recall = precision_recall(10 * normal(400, 4, 23), real)
    assert precision < 0.5 < recall


def test_density_and_coverage_against_their_definition() -> None:
    """By hand: numpy distances, one ball at a time."""
    first, second = normal(50, 3, 1).numpy(), normal(70, 3, 2, scale=1.3).numpy()
    radii = [np.sort(np.linalg.norm(second - centre, axis=1))[4] for centre in second]
    within = np.array([[np.linalg.norm(x - y) <= r for x in first] for y, r in zip(second, radii, strict=True)])
    ours = density_coverage(torch.from_numpy(first), torch.from_numpy(second), neighbours=4, chunk=13)
    assert ours == pytest.approx((within.sum() / 4 / len(first), within.any(axis=1).mean()))


def test_density_of_equal_distributions_is_one_in_the_mean_and_coverage_is_known() -> None:
    """Naeem et al. 2020, section 3.3: for M = N, the mean of coverage is 1 - C(2N - k, N) / C(2N, N) → 1 - 2^-k."""
    number, k = 200, 5
    results = [density_coverage(normal(number, 4, 10 + i), normal(number, 4, 500 + i), k) for i in range(60)]
    density, coverage = torch.tensor(results, dtype=torch.float64).T
    expected = 1 - np.prod([(number - i) / (2 * number - 1 - i) for i in range(k)])
    assert abs(density.mean() - 1) < 4 * density.std() / 60**0.5 + 0.01
    assert abs(coverage.mean() - expected) < 4 * coverage.std() / 60**0.5


def test_density_and_coverage_tell_collapse_from_noise() -> None:
    real = normal(400, 4, 23)
    density, coverage = density_coverage(real[:1] + 1e-3 * normal(400, 4, 24), real)
    assert coverage < 0.05 < density
    density, coverage = density_coverage(10 * normal(400, 4, 23), real)
    assert density < 0.2


def test_nearest_is_the_smallest_distance_also_where_it_is_tiny() -> None:
    """Far from the origin, in float32: the copy of a vector is found, at distance zero."""
    others = normal(300, 8, 3, shift=100.0).float()
    points = torch.cat([others[[17, 250]], normal(40, 8, 4, shift=100.0).float()])
    found = nearest(points, others, chunk=7)
    exact = (points[:, None].double() - others[None].double()).norm(dim=2).min(dim=1)
    assert found.row[:2].tolist() == [17, 250]
    assert found.distance[:2].tolist() == [0, 0]
    assert torch.equal(found.row, exact.indices)
    torch.testing.assert_close(found.distance.double(), exact.values, rtol=1e-6, atol=0)


def test_bad_sets_are_refused() -> None:
    spoiled = normal(9, 4, 5)
    spoiled[3, 2] = float("nan")
    for distance in (precision_recall, density_coverage, nearest):
        with pytest.raises(ValueError, match="1 of 36 features are not finite"):
            distance(normal(9, 4, 6), spoiled)
    with pytest.raises(ValueError, match="3 samples have no 3 nearest"):
        precision_recall(normal(3, 4, 11), normal(9, 4, 11))
    with pytest.raises(ValueError, match="5 samples have no 5 nearest"):
        density_coverage(normal(9, 4, 11), normal(5, 4, 11))
    with pytest.raises(ValueError, match="a set is empty"):
        nearest(normal(0, 4, 1), normal(3, 4, 1))
