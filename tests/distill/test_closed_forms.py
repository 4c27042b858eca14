"""Losses beyond the first against formulas in double precision, finite differences and optima."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from dmd.distill.losses import (
    DIVERGENCES,
    MAX_LOGIT,
    SID_FLOOR,
    adversarial_loss,
    discriminator_loss,
    divergence_weights,
    score_identity_loss,
    surrogate_loss,
)

pytestmark = pytest.mark.maths

GENERATORS = {
    "reverse_kl": lambda r: -r.log(),
    "forward_kl": lambda r: r * r.log(),
    "jensen_shannon": lambda r: r * r.log() - (r + 1) * ((r + 1) / 2).log(),
    "softened_reverse_kl": lambda r: (r + 1) * ((1 + r) / (2 * r)).log(),
    "squared_hellinger": lambda r: 2 * (1 - r.sqrt()) ** 2,
}
"""f of D_f = ∫ p_fake f(p_real / p_fake), each with f(1) = 0; squared Hellinger by the factor that makes h √r."""


def images(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_the_derivative_of_the_surrogate_is_the_gradient_and_nothing_goes_into_it() -> None:
    x, gradient = images(4, 1, 3, 3).requires_grad_(), images(4, 1, 3, 3, seed=1).requires_grad_()
    surrogate_loss(x, gradient).backward()
    assert torch.equal(x.grad, gradient.detach())
    assert gradient.grad is None


@pytest.mark.parametrize("a", [0.5, 1.0, 1.2])
def test_score_identity_is_its_formula_and_so_is_its_gradient_through_both_networks(a: float) -> None:
    """Linear networks D = A x + b: the value sample by sample in float64, the gradient by the product rule."""
    x, (A_r, A_f) = images(3, 1, 2, 2), images(2, 4, 4, seed=1).double() / 3
    b_r, b_f = images(2, 4, seed=2).double() / 3

    def value(points: list[Tensor], weights: list[float]) -> float:
        total = 0.0
        for y, w in zip(points, weights, strict=True):
            d_r, d_f = A_r @ y + b_r, A_f @ y + b_f
            total += float((d_r - d_f) @ (d_r - y - a * (d_r - d_f))) / w
        return total / (4 * len(points))

    points = list(x.double().flatten(1))
    weights = [float((y - A_r @ y - b_r).abs().mean()) for y in points]
    leaf = x.clone().requires_grad_()
    flat = leaf.flatten(1)
    x0_real = (flat @ A_r.float().T + b_r.float()).view_as(leaf)
    x0_fake = (flat @ A_f.float().T + b_f.float()).view_as(leaf)
    loss = score_identity_loss(leaf, x0_real, x0_fake, a)
    (gradient,) = torch.autograd.grad(loss, leaf)
    assert loss.item() == pytest.approx(value(points, weights), rel=1e-5, abs=1e-6)
    for i in range(3):
        difference = (A_r - A_f) @ points[i] + b_r - b_f
        rest = A_r @ points[i] + b_r - points[i] - a * difference
        slope = (A_r - A_f).T @ rest + (A_r - torch.eye(4) - a * (A_r - A_f)).T @ difference
        torch.testing.assert_close(gradient[i].flatten().double(), slope / weights[i] / 12, rtol=1e-4, atol=1e-6)
        for j in range(4):  # and by finite differences, the weights held
            moved = [[y.clone() for y in points] for _ in range(2)]
            moved[0][i][j] += 1e-5
            moved[1][i][j] -= 1e-5
            numeric = (value(moved[0], weights) - value(moved[1], weights)) / 2e-5
            assert gradient[i].flatten()[j].item() == pytest.approx(numeric, rel=1e-3, abs=1e-5)


def test_score_identity_has_a_floor_under_its_weight() -> None:
    x, fake = images(2, 1, 2, 2), images(2, 1, 2, 2, seed=1)
    found = score_identity_loss(x, x, fake, 1.0).item()
    assert found == pytest.approx(-((x - fake) ** 2).mean().item() / SID_FLOOR, rel=1e-4)


@pytest.mark.parametrize("name", DIVERGENCES)
def test_weights_of_divergences_are_the_second_derivatives_of_their_generators(name: str) -> None:
    """h(r) = r² f''(r): the gradient of ∫ q f(p / q) as the samples of q move is q h(r) ∇ log(q / p)."""
    r = torch.logspace(-2, 2, 41, dtype=torch.float64).requires_grad_()
    f = GENERATORS[name](r)
    assert GENERATORS[name](torch.ones(1, dtype=torch.float64)).item() == pytest.approx(0, abs=1e-15)
    (slope,) = torch.autograd.grad(f.sum(), r, create_graph=True)
    (curvature,) = torch.autograd.grad(slope.sum(), r)
    torch.testing.assert_close(DIVERGENCES[name](r.detach()), r.detach() ** 2 * curvature, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", GENERATORS)
def test_the_weighted_score_difference_is_the_derivative_of_the_divergence(name: str) -> None:
    """D_f(N(0, 1) || N(b, 1)) by quadrature, its derivative by b, against E_q[h(r) (log q - log p)'] of moving samples.

    So the ratio is p_real / p_fake, and the descent goes downhill for each of them.
    """
    grid = torch.linspace(-12, 12, 20001, dtype=torch.float64)
    p = torch.distributions.Normal(torch.tensor(0.0, dtype=torch.float64), 1.0).log_prob(grid)

    def q(b: float) -> Tensor:
        return torch.distributions.Normal(torch.tensor(b, dtype=torch.float64), 1.0).log_prob(grid)

    def divergence(b: float) -> float:
        return torch.trapezoid(q(b).exp() * GENERATORS[name]((p - q(b)).exp()), grid).item()

    b = 0.7
    numeric = (divergence(b + 1e-4) - divergence(b - 1e-4)) / 2e-4
    weight = DIVERGENCES[name]((p - q(b)).exp())
    score_difference = -(grid - b) + grid  # (log q)' - (log p)'
    assert torch.trapezoid(q(b).exp() * weight * score_difference, grid).item() == pytest.approx(numeric, rel=1e-5)
    assert numeric > 0


@pytest.mark.parametrize("name", DIVERGENCES)
def test_weights_have_mean_one_in_each_bin_and_keep_their_proportions(name: str) -> None:
    logits, bins = 2 * images(60), torch.arange(60) % 3
    bins[bins == 1] = 0  # the middle one is empty
    found = divergence_weights(name, logits, bins, 3)
    for number in (0, 2):
        inside = bins == number
        assert found[inside].mean().item() == pytest.approx(1, rel=1e-5)
        h = DIVERGENCES[name](logits[inside].double().exp())
        torch.testing.assert_close(found[inside].double(), h / h.mean(), rtol=1e-4, atol=1e-6)


def test_weights_do_not_depend_on_how_a_batch_is_shared() -> None:
    logits, bins, name = 2 * images(60), torch.arange(60) % 3, "jensen_shannon"
    sums: list[Tensor] = []
    for part in (slice(0, 20), slice(20, 60)):  # what each process would bring to the sum
        divergence_weights(name, logits[part], bins[part], 3, lambda own: sums.append(own) or own)
    whole = divergence_weights(name, logits, bins, 3)
    for part in (slice(0, 20), slice(20, 60)):
        found = divergence_weights(name, logits[part], bins[part], 3, lambda own: torch.stack(sums).sum(0))
        torch.testing.assert_close(found, whole[part])
    assert not torch.allclose(divergence_weights(name, logits[:20], bins[:20], 3), whole[:20])


def test_ratios_are_cut_before_they_weigh() -> None:
    logits, bins = torch.tensor([-80.0, 0.0, 80.0]), torch.zeros(3, dtype=torch.long)
    cut = torch.tensor([-MAX_LOGIT, 0.0, MAX_LOGIT]).exp()
    torch.testing.assert_close(divergence_weights("forward_kl", logits, bins, 1), 3 * cut / cut.sum())
    assert not divergence_weights("forward_kl", logits.requires_grad_(), bins, 1).requires_grad


def test_adversarial_losses_are_their_closed_forms() -> None:
    real, fake = 3 * images(9, seed=3), 3 * images(9, seed=4)
    probability_real, probability_fake = (logits.double().sigmoid() for logits in (real, fake))
    expected = -probability_real.log().mean() - (1 - probability_fake).log().mean()
    assert discriminator_loss(real, fake).item() == pytest.approx(expected.item(), rel=1e-5)
    assert adversarial_loss(fake).item() == pytest.approx(-probability_fake.log().mean().item(), rel=1e-5)
    huge = torch.tensor([-1e4, 1e4])
    assert torch.isfinite(torch.stack([adversarial_loss(huge), discriminator_loss(huge, huge)])).all()


def test_the_best_discriminators_logit_is_the_log_ratio_of_two_gaussians() -> None:
    """Of N(m, s²) noised to N(alpha m, alpha² s² + sigma²), at quantiles, where all have the same number of samples.

    A logit a + b x + c x² is fitted by Newton's method; that of two Gaussians is of this form.
    """
    alpha, sigma = 0.8, 0.6
    (m_p, s_p), (m_q, s_q) = ((alpha * m, (alpha**2 * s**2 + sigma**2) ** 0.5) for m, s in ((0.5, 0.3), (-0.4, 1.0)))
    p, q = (torch.distributions.Normal(torch.tensor(m, dtype=torch.float64), s) for m, s in ((m_p, s_p), (m_q, s_q)))
    quantiles = (torch.arange(20000, dtype=torch.float64) + 0.5) / 20000
    powers = torch.arange(3)
    real, fake = (normal.icdf(quantiles)[:, None] ** powers for normal in (p, q))
    theta = torch.zeros(3, dtype=torch.float64)

    def loss(values: Tensor) -> Tensor:
        return functional.softplus(-real @ values).mean() + functional.softplus(fake @ values).mean()

    for _ in range(30):
        leaf = theta.clone().requires_grad_()
        (slope,) = torch.autograd.grad(loss(leaf), leaf)
        theta = theta - torch.linalg.solve(torch.autograd.functional.hessian(loss, theta), slope)
    x = torch.linspace(-2, 2, 21, dtype=torch.float64)
    torch.testing.assert_close(x[:, None] ** powers @ theta, p.log_prob(x) - q.log_prob(x), rtol=1e-2, atol=1e-2)
    at_best = discriminator_loss((real @ theta).float(), (fake @ theta).float()).item()
    assert at_best == pytest.approx(loss(theta).item(), rel=1e-5)
    for moved in torch.eye(3, dtype=torch.float64) * 0.05:
        for sign in (1, -1):
            nearby = theta + sign * moved
            assert discriminator_loss((real @ nearby).float(), (fake @ nearby).float()).item() > at_best
