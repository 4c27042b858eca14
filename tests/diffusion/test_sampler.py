"""Solvers against the exact flow map of Gaussian data, and DDIM against its step written out."""

import math

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler
from torch import Tensor, nn

from dmd.diffusion.denoiser import BaseDenoiser, Denoiser
from dmd.diffusion.sampler import SOLVERS, count_nfe, sample
from dmd.diffusion.schedule import NoiseSchedule
from tests.diffusion.gaussian_mixture import GaussianMixtureDenoiser

pytestmark = pytest.mark.maths

CONFIG = {
    "num_train_timesteps": 1000,
    "beta_schedule": "linear",
    "beta_start": 1e-4,
    "beta_end": 2e-2,
    "prediction_type": "epsilon",
    "clip_sample": False,
}
SCHEDULE = NoiseSchedule.from_scheduler(DDPMScheduler.from_config(CONFIG))
MEAN, STD = 0.3, 0.2
Z = torch.randn(16, 1, 2, 2, generator=torch.Generator().manual_seed(0))


class Counted(BaseDenoiser):
    """A denoiser that counts its calls."""

    def __init__(self, denoiser: BaseDenoiser) -> None:
        super().__init__()
        self.denoiser, self.schedule, self.calls = denoiser, denoiser.schedule, 0

    def forward(self, x_t: Tensor, t: Tensor, labels: Tensor | None) -> Tensor:
        self.calls += 1
        return self.denoiser(x_t, t, labels)


def gaussian() -> GaussianMixtureDenoiser:
    return GaussianMixtureDenoiser(torch.full((1, 1, 2, 2), MEAN), torch.tensor([STD]), torch.ones(1), SCHEDULE)


def two_moons() -> GaussianMixtureDenoiser:
    means = torch.stack([torch.full((1, 2, 2), -0.6), torch.full((1, 2, 2), 0.5)])
    return GaussianMixtureDenoiser(means, torch.tensor([0.15, 0.1]), torch.tensor([1.0, 2.0]), SCHEDULE)


def flow_map(z: Tensor) -> Tensor:
    """x0 of the probability-flow ODE from x_{T-1} = z: the affine map between the two Gaussians."""
    last = torch.tensor([999])
    alpha, sigma = SCHEDULE.alpha(last).item(), SCHEDULE.sigma(last).item()
    return MEAN + STD * (z - alpha * MEAN) / math.sqrt(alpha**2 * STD**2 + sigma**2)


def error(solver: str, steps: int, spacing: str) -> float:
    return (sample(gaussian(), Z, None, CONFIG, solver, steps, spacing) - flow_map(Z)).abs().mean().item()


@pytest.mark.parametrize(("solver", "spacing"), [("ddim", "leading"), ("ddim", "trailing"), ("euler", "leading")])
def test_first_order_solvers_converge_with_order_one(solver: str, spacing: str) -> None:
    steps = np.array([40, 100, 200, 500] if solver == "ddim" else [40, 100, 200])
    errors = [error(solver, int(n), spacing) for n in steps]
    slope = -np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert 0.8 < slope < 1.3, errors
    assert errors[-1] < 0.25 * errors[0]


def test_heun_converges_with_order_two_and_beats_ddim_at_equal_calls() -> None:
    steps = np.array([20, 40, 100])
    errors = [error("heun", int(n), "leading") for n in steps]
    assert 1.7 < -np.polyfit(np.log(steps), np.log(errors), 1)[0] < 2.6, errors
    for n, heun in zip((20, 40, 100), errors, strict=True):
        assert count_nfe("heun", n) <= count_nfe("ddim", 2 * n)
        assert heun < error("ddim", 2 * n, "leading") / 1.5


@pytest.mark.parametrize(("solver", "bound"), [("dpmsolver++", 0.001), ("dpmsolver++3m", 0.002), ("unipc", 0.001)])
def test_multistep_solvers_reach_the_flow_map(solver: str, bound: float) -> None:
    """Much nearer than Euler with as many calls, and nearer with more."""
    errors = [error(solver, n, "trailing") for n in (100, 200)]
    assert errors[0] < error("euler", 100, "trailing") / 3
    assert errors[1] < bound


def test_the_third_order_of_dpm_solver_is_ahead_of_the_second_with_few_steps() -> None:
    assert error("dpmsolver++3m", 20, "trailing") < 0.97 * error("dpmsolver++", 20, "trailing")


@pytest.mark.parametrize("steps", [10, 25])
def test_ddim_is_its_published_step(steps: int) -> None:
    """Song et al. 2021 (DDIM), eq. 12 with no noise, on a nonlinear denoiser, in float64 from betas alone."""
    alpha_bar = np.cumprod(1 - np.linspace(1e-4, 2e-2, 1000))
    denoiser, x = two_moons().double(), Z.double()
    for i in range(steps):
        t = 1000 - i * (1000 // steps) - 1
        previous = alpha_bar[t - 1000 // steps] if i < steps - 1 else 1.0
        x0 = denoiser(x, torch.full((len(x),), t))
        eps = (x - math.sqrt(alpha_bar[t]) * x0) / math.sqrt(1 - alpha_bar[t])
        x = math.sqrt(previous) * x0 + math.sqrt(1 - previous) * eps
    found = sample(two_moons(), Z, None, CONFIG, "ddim", steps, "trailing")
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), x, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("solver", SOLVERS)
def test_an_image_is_a_function_of_its_noise_alone(solver: str) -> None:
    denoiser = two_moons()
    whole = sample(denoiser, Z, None, CONFIG, solver, 10, "leading")
    torch.manual_seed(123)
    assert torch.equal(sample(denoiser, Z, None, CONFIG, solver, 10, "leading"), whole)
    parts = [sample(denoiser, z, None, CONFIG, solver, 10, "leading") for z in (Z[:1], Z[1:9], Z[9:])]
    torch.testing.assert_close(torch.cat(parts), whole, rtol=0, atol=1e-5)
    flipped = sample(denoiser, Z.flip(0), None, CONFIG, solver, 10, "leading").flip(0)
    torch.testing.assert_close(flipped, whole, rtol=0, atol=1e-5)
    assert not torch.allclose(whole[0], whole[1], atol=1e-3)


def test_labels_reach_the_denoiser() -> None:
    labels = torch.arange(16) % 2
    images = sample(two_moons(), Z, labels, CONFIG, "ddim", 50, "trailing").mean(dim=(1, 2, 3))
    assert ((images > 0) == (labels == 1)).all()


@pytest.mark.parametrize("spacing", ["leading", "trailing"])
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("steps", [1, 2, 7, 10])
def test_nfe_is_the_number_of_network_calls(solver: str, spacing: str, steps: int) -> None:
    denoiser = Counted(gaussian())
    sample(denoiser, Z[:1], None, CONFIG, solver, steps, spacing)
    assert denoiser.calls == count_nfe(solver, steps) == (2 * steps - 1 if solver == "heun" else steps)


@pytest.mark.parametrize("solver", ["ddpm", "euler_ancestral", "dpm2_ancestral", "sde-dpmsolver++", "lcm", "DDIM"])
def test_other_samplers_are_refused(solver: str) -> None:
    with pytest.raises(ValueError, match=r"not a deterministic ODE solver; take one of euler, heun, ddim"):
        sample(gaussian(), Z, None, CONFIG, solver, 10, "leading")


def test_the_teachers_prediction_type_does_not_matter() -> None:
    """Solvers are handed the noise, whatever the network predicts."""

    class Velocity(nn.Module):
        def forward(self, x: Tensor, t: Tensor, class_labels: Tensor | None, return_dict: bool) -> tuple[Tensor]:
            alpha, sigma = (table.float()[:, None, None, None] for table in (SCHEDULE.alpha(t), SCHEDULE.sigma(t)))
            x0 = gaussian()(x, t)
            return (alpha * (x - alpha * x0) / sigma - sigma * x0,)

    config = {**CONFIG, "prediction_type": "v_prediction"}
    for solver in SOLVERS:
        found = sample(Denoiser(Velocity(), SCHEDULE, "v_prediction"), Z, None, config, solver, 20, "leading")
        expected = sample(gaussian(), Z, None, CONFIG, solver, 20, "leading")
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


class Wrong(BaseDenoiser):
    """The x0 of an epsilon that is off by noise of standard deviation 0.02."""

    def __init__(self, schedule: NoiseSchedule) -> None:
        super().__init__()
        self.schedule, self.generator = schedule, torch.Generator().manual_seed(1)
        mean, std = torch.zeros(1, 1, 2, 2), torch.tensor([STD])
        self.exact = GaussianMixtureDenoiser(mean, std, torch.ones(1), schedule)

    def forward(self, x_t: Tensor, t: Tensor, labels: Tensor | None) -> Tensor:
        ratio = (self.schedule.sigma(t) / self.schedule.alpha(t)).view(-1, 1, 1, 1)
        return self.exact(x_t, t, labels) + 0.02 * ratio * torch.randn(x_t.shape, generator=self.generator)


@pytest.mark.parametrize("solver", ["ddim", "heun"])
def test_an_epsilon_under_squared_cosine_betas_needs_the_leading_timesteps(solver: str) -> None:
    """At the last of them sigma/alpha is 20,000, so that trailing steps begin with nothing but the error."""
    config = {**CONFIG, "beta_schedule": "squaredcos_cap_v2"}
    schedule = NoiseSchedule.from_scheduler(DDPMScheduler.from_config(config))
    spread = {
        spacing: sample(Wrong(schedule), Z, None, config, solver, 20, spacing).std().item()
        for spacing in ("leading", "trailing")
    }
    assert spread["leading"] == pytest.approx(STD * Z.std().item(), rel=0.25)
    assert spread["trailing"] > 10 * STD
