"""Denoisers against posterior means that are known: closed forms, numerical integration, autograd of a log density."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from torch import Tensor, nn
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from dmd.diffusion.denoiser import Denoiser
from dmd.diffusion.guidance import GuidedDenoiser, with_guidance
from dmd.diffusion.schedule import NoiseSchedule
from dmd.teacher.network import build_unet
from tests.diffusion.gaussian_mixture import GaussianMixtureDenoiser

pytestmark = pytest.mark.maths

MEAN, STD = 0.3, 0.2
VP = NoiseSchedule.from_betas(torch.linspace(1e-4, 2e-2, 1000, dtype=torch.float64))
VE = NoiseSchedule.from_sigmas(torch.logspace(-2.7, 1.9, 1000, dtype=torch.float64))


def posterior_mean(x_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """E[x0 | x_t] of data N(MEAN, STD²), by the conditional of a joint Gaussian."""
    return MEAN + alpha * STD**2 / (alpha**2 * STD**2 + sigma**2) * (x_t - alpha * MEAN)


class ExactBackbone(nn.Module):
    """What a perfectly trained network of each prediction type gives on data N(MEAN, STD²)."""

    def __init__(self, prediction_type: str, schedule: NoiseSchedule) -> None:
        super().__init__()
        self.prediction_type, self.schedule = prediction_type, schedule

    def forward(self, x: Tensor, t: Tensor, class_labels: Tensor | None, return_dict: bool) -> tuple[Tensor]:
        assert return_dict is False
        alpha, sigma = (table[:, None, None, None] for table in (self.schedule.alpha(t), self.schedule.sigma(t)))
        if self.prediction_type == "edm":
            root = (sigma**2 + 0.25).sqrt()
            x_t = x * root
            return ((posterior_mean(x_t, alpha, sigma) - 0.25 / root**2 * x_t) * root / (sigma * 0.5),)
        # The score of N(alpha MEAN, alpha² STD² + sigma²) gives E[eps | x_t] = -sigma score.
        eps = sigma * (x - alpha * MEAN) / (alpha**2 * STD**2 + sigma**2)
        x0 = posterior_mean(x, alpha, sigma)
        return ({"epsilon": eps, "v_prediction": alpha * eps - sigma * x0, "sample": x0}[self.prediction_type],)


class LabelBackbone(nn.Module):
    """F = (label + 1) x + t / 1000, with every call counted."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[int] = []

    def forward(self, x: Tensor, t: Tensor, class_labels: Tensor, return_dict: bool) -> tuple[Tensor]:
        self.calls.append(len(x))
        return ((class_labels + 1)[:, None, None, None] * x + t[:, None, None, None] / 1000,)


def noisy(count: int = 40) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x_t = torch.randn(count, 1, 2, 3, generator=generator, dtype=torch.float64)
    return x_t, torch.linspace(0, 999, count).long()


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample", "edm"])
def test_every_prediction_type_gives_the_posterior_mean(prediction_type: str) -> None:
    schedule = VE if prediction_type == "edm" else VP
    x_t, t = noisy()
    x0 = Denoiser(ExactBackbone(prediction_type, schedule), schedule, prediction_type)(x_t, t)
    alpha, sigma = schedule.alpha(t)[:, None, None, None], schedule.sigma(t)[:, None, None, None]
    torch.testing.assert_close(x0, posterior_mean(x_t, alpha, sigma), rtol=1e-10, atol=1e-10)
    single = Denoiser(ExactBackbone(prediction_type, schedule), schedule, prediction_type)(x_t.float(), t)
    assert single.dtype == torch.float32


def test_an_unknown_prediction_type_is_refused() -> None:
    with pytest.raises(ValueError, match="'velocity' is unknown; take one of epsilon, v_prediction, sample, flow, edm"):
        Denoiser(nn.Identity(), VP, "velocity")


def guided(scale: float) -> tuple[GuidedDenoiser, Denoiser, LabelBackbone]:
    backbone = LabelBackbone()
    plain = Denoiser(backbone, VP, "epsilon")
    return GuidedDenoiser(plain, scale, null_label=10), plain, backbone


def test_guidance_one_is_no_guidance() -> None:
    guidance, plain, backbone = guided(1.0)
    x_t, t = noisy(10)
    assert torch.equal(guidance(x_t, t, torch.arange(10)), plain(x_t, t, torch.arange(10)))
    assert backbone.calls == [10, 10]


def test_guidance_zero_is_unconditional() -> None:
    guidance, plain, _ = guided(0.0)
    x_t, t = noisy(10)
    assert torch.equal(guidance(x_t, t, torch.arange(10)), plain(x_t, t, torch.full((10,), 10)))


def test_guidance_is_its_formula_in_one_network_call() -> None:
    guidance, _, backbone = guided(2.5)
    x_t, t = noisy(10)
    labels = torch.arange(10)
    x0 = guidance(x_t, t, labels)
    assert backbone.calls == [20]
    alpha, sigma, number = (table[:, None, None, None] for table in (VP.alpha(t), VP.sigma(t), labels.double()))
    cond = (x_t - sigma * ((number + 1) * x_t + t[:, None, None, None] / 1000)) / alpha
    uncond = (x_t - sigma * (11 * x_t + t[:, None, None, None] / 1000)) / alpha
    torch.testing.assert_close(x0, 2.5 * cond - 1.5 * uncond, rtol=1e-6, atol=1e-5)


def unet(embeds: int | None) -> Denoiser:
    return Denoiser(build_unet((1, 8, 8), embeds, (4, 4), 1, (), 2), VP, "epsilon")


def test_guidance_wraps_only_where_it_is_on() -> None:
    plain = unet(11)
    assert with_guidance(plain, 1.0, 10) is plain
    wrapped: Any = with_guidance(plain, 3.0, 10)
    assert (wrapped.guidance_scale, wrapped.null_label, wrapped.denoiser) == (3.0, 10, plain)


@pytest.mark.parametrize(("embeds", "classes"), [(10, 10), (None, None), (11, None), (11, 9)])
def test_guidance_needs_a_null_class(embeds: int | None, classes: int | None) -> None:
    with pytest.raises(ValueError, match=r"guidance_scale 3\.0 needs a null class.*set guidance_scale to 1\.0"):
        with_guidance(unet(embeds), 3.0, classes)


def test_a_mixture_of_one_is_the_closed_form() -> None:
    x_t, t = noisy()
    means = torch.full((1, 1, 2, 3), MEAN, dtype=torch.float64)
    one = torch.ones(1, dtype=torch.float64)
    x0 = GaussianMixtureDenoiser(means, STD * one, 7 * one, VP)(x_t, t)
    expected = posterior_mean(x_t, VP.alpha(t)[:, None, None, None], VP.sigma(t)[:, None, None, None])
    torch.testing.assert_close(x0, expected, rtol=1e-12, atol=1e-12)


def mixture(shape: tuple[int, ...]) -> GaussianMixtureDenoiser:
    generator = torch.Generator().manual_seed(3)
    means = 0.7 * torch.randn(3, *shape, generator=generator, dtype=torch.float64)
    stds, weights = torch.tensor([[0.1, 0.3, 0.05], [1.0, 3.0, 2.0]], dtype=torch.float64)
    return GaussianMixtureDenoiser(means, stds, weights, VP)


@pytest.mark.parametrize("t", [20, 200, 500, 900])
def test_a_mixture_is_bayes_rule_integrated(t: int) -> None:
    denoiser = mixture((1, 1, 1))
    alpha, sigma = VP.alpha(torch.tensor([t])).item(), VP.sigma(torch.tensor([t])).item()
    means, stds = denoiser.means.flatten().numpy(), denoiser.stds.numpy()
    grid = np.linspace(-4, 4, 40_001)
    prior = sum(w * stats.norm.pdf(grid, m, s) for w, m, s in zip((1 / 6, 3 / 6, 2 / 6), means, stds, strict=True))
    for x_t in (-0.8, 0.1, 0.9):
        likelihood = stats.norm.pdf(x_t, alpha * grid, sigma) * prior
        expected = integrate.simpson(grid * likelihood, x=grid) / integrate.simpson(likelihood, x=grid)
        found = denoiser(torch.full((1, 1, 1, 1), x_t, dtype=torch.float64), torch.tensor([t])).item()
        assert found == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("t", [5, 100, 400, 999])
def test_a_mixture_is_tweedies_formula_on_autograds_score(t: int) -> None:
    denoiser = mixture((1, 2, 2))
    alpha, sigma = VP.alpha(torch.tensor([t])), VP.sigma(torch.tensor([t]))
    spread = (alpha**2 * denoiser.stds**2 + sigma**2).sqrt()[:, None, None, None].expand(3, 1, 2, 2)
    components = Independent(Normal(alpha * denoiser.means, spread), 3)
    density = MixtureSameFamily(Categorical(torch.tensor([1.0, 3.0, 2.0], dtype=torch.float64)), components)
    x_t = density.sample((20,)).requires_grad_()
    (score,) = torch.autograd.grad(density.log_prob(x_t).sum(), x_t)
    x0 = denoiser(x_t.detach(), torch.full((20,), t))
    torch.testing.assert_close(x0, (x_t.detach() + sigma**2 * score) / alpha, rtol=1e-8, atol=1e-9)


def test_a_label_selects_one_component_of_the_mixture() -> None:
    denoiser = mixture((1, 2, 3))
    x_t, t = noisy(3)
    one = torch.ones(1, dtype=torch.float64)
    for k in range(3):
        alone = GaussianMixtureDenoiser(denoiser.means[k : k + 1], denoiser.stds[k : k + 1], one, VP)
        torch.testing.assert_close(denoiser(x_t, t, torch.full((3,), k)), alone(x_t, t), rtol=1e-12, atol=1e-12)
