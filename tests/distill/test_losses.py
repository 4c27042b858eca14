"""The losses' closed forms, directions and fixed point."""

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from dmd.diffusion.denoiser import Denoiser, denoising_loss
from dmd.diffusion.schedule import NoiseSchedule
from dmd.distill.losses import distribution_matching_gradient, surrogate_loss
from dmd.teacher.network import build_unet
from tests.diffusion.gaussian_mixture import GaussianMixtureDenoiser

pytestmark = pytest.mark.maths

SCHEDULE = NoiseSchedule.from_betas(torch.linspace(1e-4, 2e-2, 1000, dtype=torch.float64))


def images(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def gaussian_denoiser(mean: float, std: float) -> GaussianMixtureDenoiser:
    return GaussianMixtureDenoiser(torch.full((1, 1, 2, 2), mean), torch.tensor([std]), torch.ones(1), SCHEDULE)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
def test_the_first_gradient_is_exactly_zero(prediction_type: str) -> None:
    torch.manual_seed(0)
    real = Denoiser(build_unet((1, 8, 8), 4, (4, 8), 1, (), 2), SCHEDULE, prediction_type).eval()
    fake = copy.deepcopy(real)
    x, t, labels = images(6, 1, 8, 8), torch.tensor([20, 100, 300, 600, 900, 980]), torch.arange(6) % 4
    with torch.no_grad():
        x_t = SCHEDULE.add_noise(x, images(6, 1, 8, 8, seed=1), t)
        gradient = distribution_matching_gradient(x, real(x_t, t, labels), fake(x_t, t, labels))
        assert torch.equal(gradient, torch.zeros_like(x))
        next(fake.parameters()).mul_(1.1)
        assert distribution_matching_gradient(x, real(x_t, t, labels), fake(x_t, t, labels)).abs().max() > 1e-4


def test_the_gradient_is_its_formula() -> None:
    x, x0_real, x0_fake = images(3, 5, 1, 2, 2).unbind(0)
    gradient = distribution_matching_gradient(x, x0_real, x0_fake)
    for i in range(5):
        weight = (
            sum(abs(a - b) for a, b in zip(x[i].flatten().tolist(), x0_real[i].flatten().tolist(), strict=True)) / 4
        )
        torch.testing.assert_close(gradient[i], (x0_fake[i] - x0_real[i]) / weight, rtol=1e-4, atol=1e-6)


def test_a_perfect_sample_gives_a_finite_gradient() -> None:
    x = images(2, 1, 2, 2)
    assert torch.isfinite(distribution_matching_gradient(x, x, x + 0.1)).all()


def test_autograd_of_the_surrogate_is_the_gradient() -> None:
    x = images(7, 1, 3, 3).requires_grad_()
    gradient = images(7, 1, 3, 3, seed=1)
    loss = surrogate_loss(x, gradient)
    loss.backward()
    assert loss.item() == pytest.approx((x * gradient).sum().item(), rel=1e-5)
    assert torch.equal(x.grad, gradient)


def test_no_gradient_passes_through_the_scores() -> None:
    x = images(3, 4, 1, 2, 2).requires_grad_()
    assert not distribution_matching_gradient(x[0], x[1], x[2]).requires_grad


@settings(max_examples=30, deadline=None, derandomize=True)
@given(factor=st.floats(0.01, 100), seed=st.integers(0, 1000))
def test_the_weight_takes_out_the_scale(factor: float, seed: int) -> None:
    """Scores and images in other units give the same gradient, sample by sample."""
    x, x0_real, x0_fake = images(3, 4, 1, 3, 3, seed=seed).unbind(0)
    factors = torch.tensor([1.0, factor, 1.0, factor])[:, None, None, None]
    scaled = distribution_matching_gradient(factors * x, factors * x0_real, factors * x0_fake)
    torch.testing.assert_close(scaled, distribution_matching_gradient(x, x0_real, x0_fake), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("data_mean", [-0.5, 0.4])
@pytest.mark.parametrize("t", [20, 200, 500, 900])
def test_the_gradient_points_from_the_generators_mean_to_the_datas(t: int, data_mean: float) -> None:
    """Descent goes along -g, so g · (mean of the generator - mean of the data) > 0."""
    x = 0.2 * images(64, 1, 2, 2)
    times = torch.full((64,), t)
    x_t = SCHEDULE.add_noise(x, images(64, 1, 2, 2, seed=1), times)
    real, fake = gaussian_denoiser(data_mean, 0.2), gaussian_denoiser(0.0, 0.2)
    gradient = distribution_matching_gradient(x, real(x_t, times), fake(x_t, times))
    assert (gradient * (0.0 - data_mean)).sum(dim=(1, 2, 3)).min() > 0


def test_snr_weighted_x0_error_is_epsilon_error() -> None:
    x0, eps, output = images(3, 32, 1, 4, 4).unbind(0)

    class Fixed(nn.Module):
        def forward(self, x: Tensor, t: Tensor, class_labels: Tensor | None, return_dict: bool) -> tuple[Tensor]:
            return (output,)

    t = torch.linspace(0, 999, 32).long()
    x0_hat = Denoiser(Fixed(), SCHEDULE, "epsilon")(SCHEDULE.add_noise(x0, eps, t), t)
    loss = denoising_loss(x0_hat, x0, SCHEDULE.snr(t))
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(nn.functional.mse_loss(output, eps).item(), rel=1e-3)


def test_denoising_weights_belong_to_samples() -> None:
    x0 = torch.zeros(2, 1, 2, 2)
    x0_hat = torch.stack([torch.full((1, 2, 2), 1.0), torch.full((1, 2, 2), 3.0)])
    assert denoising_loss(x0_hat, x0, torch.tensor([4.0, 0.5])).item() == pytest.approx((4 * 1 + 0.5 * 9) / 2)


def test_an_affine_generator_lands_on_the_data() -> None:
    """x = a z + b with the exact real score and the exact fake score of its own N(b, a²): b -> mean, a -> std."""
    mean, std, steps, size = 0.3, 0.4, 600, 64
    torch.manual_seed(0)
    scale, shift = nn.Parameter(torch.tensor(1.3)), nn.Parameter(torch.tensor(-0.6))
    optimizer = torch.optim.Adam([scale, shift], lr=0.05)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    real = gaussian_denoiser(mean, std)
    for _ in range(steps):
        x = scale * torch.randn(size, 1, 2, 2) + shift
        t = torch.randint(20, 981, (size,))
        with torch.no_grad():
            x_t = SCHEDULE.add_noise(x, torch.randn_like(x), t)
            alpha, sigma = (table.float()[:, None, None, None] for table in (SCHEDULE.alpha(t), SCHEDULE.sigma(t)))
            gain = alpha * scale**2 / (alpha**2 * scale**2 + sigma**2)
            x0_fake = shift + gain * (x_t - alpha * shift)
        gradient = distribution_matching_gradient(x.detach(), real(x_t, t), x0_fake)
        surrogate_loss(x, gradient / gradient.numel()).backward()
        optimizer.step()
        decay.step()
        optimizer.zero_grad()
    assert math.isclose(shift.item(), mean, abs_tol=5e-4)
    assert math.isclose(abs(scale.item()), std, abs_tol=5e-4)
