"""Fréchet and kernel distances: against closed forms, numpy and torch-fidelity."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_kid import kernel_mmd, kid_features_to_metric

from dmd.evaluate.frechet import Moments, frechet_distance
from dmd.evaluate.kernel import kernel_distance, unbiased_mmd

pytestmark = pytest.mark.maths


def normal(count: int, dimensions: int, seed: int, scale: float = 1.0, shift: float = 0.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(dimensions, dimensions, generator=generator, dtype=torch.float64) / dimensions**0.5
    return scale * torch.randn(count, dimensions, generator=generator, dtype=torch.float64) @ mixing + shift


def exact(mean: torch.Tensor, covariance: torch.Tensor) -> Moments:
    """Moments with the given mean and unbiased covariance."""
    return Moments(3, mean, 2 * covariance)


@given(sizes=st.lists(st.integers(1, 40), min_size=1, max_size=6), shift=st.sampled_from([0.0, 1e4]))
@settings(max_examples=25, deadline=None)
def test_merged_moments_are_those_of_the_whole(sizes: list[int], shift: float) -> None:
    features = normal(sum(sizes) + 2, 5, seed=1, shift=shift)
    parts = [Moments.of(part) for part in features.split([*sizes, 2])]
    merged = parts[0]
    for part in parts[1:]:
        merged = merged.merge(part)
    assert merged.count == len(features)
    np.testing.assert_allclose(merged.mean, features.numpy().mean(0), rtol=1e-12)
    np.testing.assert_allclose(merged.covariance, np.cov(features.numpy(), rowvar=False), rtol=1e-6, atol=1e-9)


def test_moments_are_float64_for_float32_features() -> None:
    features = (normal(5000, 3, seed=2) + 1000).float()
    expected = np.cov(features.double().numpy(), rowvar=False)
    np.testing.assert_allclose(Moments.of(features).covariance, expected, rtol=1e-10)


def test_frechet_of_isotropic_gaussians() -> None:
    r"""|m1 - m2|² + D (s1 - s2)²."""
    first = exact(torch.zeros(7, dtype=torch.float64), 4.0 * torch.eye(7, dtype=torch.float64))
    second = exact(torch.full((7,), 2.0, dtype=torch.float64), 0.25 * torch.eye(7, dtype=torch.float64))
    assert frechet_distance(first, second) == pytest.approx(7 * 4 + 7 * 1.5**2, rel=1e-12)


def test_frechet_of_covariances_that_do_not_commute() -> None:
    """In two dimensions tr (AB)^½ = (tr AB + 2 (det AB)^½)^½."""
    a = torch.tensor([[2.0, 0.9], [0.9, 1.0]], dtype=torch.float64)
    b = torch.tensor([[0.5, -0.3], [-0.3, 3.0]], dtype=torch.float64)
    cross = ((a @ b).trace() + 2 * torch.linalg.det(a @ b).sqrt()).sqrt()
    expected = float(a.trace() + b.trace() - 2 * cross)
    mean = torch.zeros(2, dtype=torch.float64)
    assert frechet_distance(exact(mean, a), exact(mean, b)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("count", "dimensions"), [(500, 8), (4000, 128)])
def test_frechet_agrees_with_torch_fidelity(count: int, dimensions: int) -> None:
    first, second = normal(count, dimensions, 3), normal(count + 7, dimensions, 4, scale=1.3, shift=0.1)
    theirs = fid_statistics_to_metric(fid_features_to_statistics(first), fid_features_to_statistics(second), False)
    ours = frechet_distance(Moments.of(first), Moments.of(second))
    assert ours == pytest.approx(theirs["frechet_inception_distance"], rel=1e-6)


def test_frechet_is_symmetric_and_zero_on_itself() -> None:
    first, second = Moments.of(normal(300, 16, 5)), Moments.of(normal(300, 16, 6, shift=0.5))
    assert frechet_distance(first, second) == pytest.approx(frechet_distance(second, first), rel=1e-10)
    assert 0 <= frechet_distance(first, first) < 1e-10


def test_frechet_of_constant_features_is_the_exact_limit() -> None:
    """A point against a Gaussian: |m1 - m2|² + tr S2."""
    point = Moments.of(torch.ones(10, 4, dtype=torch.float64))
    cloud = Moments.of(normal(200, 4, 7))
    expected = float((point.mean - cloud.mean).square().sum() + cloud.covariance.trace())
    assert frechet_distance(point, cloud) == pytest.approx(expected, rel=1e-10)
    assert frechet_distance(point, point) == 0


def test_frechet_with_fewer_samples_than_dimensions() -> None:
    """Two rank-deficient sets in orthogonal subspaces: the cross term vanishes."""
    first, second = torch.zeros(2, 5, 16, dtype=torch.float64)
    first[:, :4], second[:, 8:12] = normal(5, 4, 8), normal(5, 4, 9)
    a, b = Moments.of(first), Moments.of(second)
    expected = float((a.mean - b.mean).square().sum() + a.covariance.trace() + b.covariance.trace())
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused(bad: float) -> None:
    features = normal(50, 4, 10)
    spoiled = features.clone()
    spoiled[3, 2] = bad
    with pytest.raises(ValueError, match="1 of 200 features are not finite"):
        Moments.of(spoiled)
    with pytest.raises(ValueError, match="not finite"):
        unbiased_mmd(features, spoiled)
    with pytest.raises(ValueError, match="not finite"):
        frechet_distance(exact(torch.full((4,), bad).double(), torch.eye(4).double()), Moments.of(features))


def test_indefinite_covariance_is_refused() -> None:
    mean = torch.zeros(2, dtype=torch.float64)
    broken = exact(mean, torch.diag(torch.tensor([1.0, -0.1], dtype=torch.float64)))
    with pytest.raises(ValueError, match=r"eigenvalue -0\.1"):
        frechet_distance(broken, exact(mean, torch.eye(2, dtype=torch.float64)))


def test_too_few_samples_and_other_dimensions_are_refused() -> None:
    one, many = Moments.of(normal(1, 4, 11)), Moments.of(normal(9, 4, 11))
    with pytest.raises(ValueError, match="at least 2 samples, got 1"):
        frechet_distance(one, many)
    with pytest.raises(ValueError, match="4 and 5 dimensions"):
        frechet_distance(many, Moments.of(normal(9, 5, 11)))
    with pytest.raises(ValueError, match="batch is empty"):
        Moments.of(torch.zeros(0, 4))
    with pytest.raises(ValueError, match="19 and 500 samples"):
        kernel_distance(normal(19, 4, 11), normal(500, 4, 11))


def test_mmd_agrees_with_torch_fidelity_on_one_subset() -> None:
    first, second = normal(200, 32, 12), normal(200, 32, 13, shift=0.3)
    options = {
        "kid_kernel": "poly",
        "kid_kernel_poly_degree": 3,
        "kid_kernel_poly_gamma": None,
        "kid_kernel_poly_coef0": 1,
    }
    assert unbiased_mmd(first, second) == pytest.approx(kernel_mmd(first.numpy(), second.numpy(), **options), rel=1e-10)


def test_kernel_distance_over_torch_fidelitys_own_subsets() -> None:
    first, second, size, subsets, seed = normal(400, 32, 14), normal(300, 32, 15, shift=0.3), 100, 12, 2020
    theirs = kid_features_to_metric(
        first, second, kid_subsets=subsets, kid_subset_size=size, rng_seed=seed, verbose=False
    )
    rng, values = np.random.RandomState(seed), []
    for _ in range(subsets):
        rows, others = rng.choice(400, size, replace=False), rng.choice(300, size, replace=False)
        values.append(unbiased_mmd(first[rows], second[others]))
    assert np.mean(values) == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-4)
    assert np.std(values) == pytest.approx(theirs["kernel_inception_distance_std"], rel=1e-4)


def test_mmd_is_zero_in_the_mean_for_equal_distributions_of_other_sizes() -> None:
    """Unbiased also where the two sets differ in size."""
    generator = torch.Generator().manual_seed(16)
    values = torch.tensor(
        [
            unbiased_mmd(torch.randn(12, 3, generator=generator), torch.randn(25, 3, generator=generator))
            for _ in range(2000)
        ]
    )
    assert abs(values.mean()) < 4 * values.std() / len(values) ** 0.5


def test_standard_error_is_that_of_repeated_draws() -> None:
    """The reported error against the true spread over 60 independent pairs of sets."""
    generator = torch.Generator().manual_seed(18)
    results = [
        kernel_distance(
            torch.randn(400, 4, generator=generator), torch.randn(400, 4, generator=generator) + 0.5, seed=i
        )
        for i in range(60)
    ]
    means, errors = torch.tensor([result.mean for result in results]), torch.tensor([r.standard_error for r in results])
    assert 1 / 1.5 < errors.square().mean().sqrt() / means.std() < 1.5


def test_kernel_distance_is_a_function_of_the_seed() -> None:
    first, second = normal(500, 8, 19), normal(700, 8, 20)
    assert kernel_distance(first, second, seed=3) == kernel_distance(first, second, seed=3)
    assert kernel_distance(first, second, seed=3) != kernel_distance(first, second, seed=4)
