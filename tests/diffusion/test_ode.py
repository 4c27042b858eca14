"""Euler's and Heun's own steps: the flow of a Gaussian under each kind of schedule, and diffusers' solvers."""

import math

import numpy as np
import pytest
import torch
from diffusers import EulerDiscreteScheduler, HeunDiscreteScheduler
from torch import Tensor

from dmd.diffusion.denoiser import BaseDenoiser
from dmd.diffusion.ode import integrate, step_times
from dmd.diffusion.schedule import NoiseSchedule, scale
from tests.diffusion.gaussian_mixture import GaussianMixtureDenoiser

pytestmark = pytest.mark.maths

MEAN, STD, T = 0.3, 0.2, 1000
BETAS = torch.linspace(1e-4, 2e-2, T, dtype=torch.float64)
SIGMA = torch.linspace(1e-3, 0.999, T, dtype=torch.float64)
SCHEDULES = {
    "betas": NoiseSchedule.from_betas(BETAS),
    "karras": NoiseSchedule.from_karras(T, 0.002, 80.0, 7.0, time_scale=250.0),
    "flow": NoiseSchedule(1 - SIGMA, SIGMA),
}
Z = torch.randn(16, 1, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
SPACINGS = ("leading", "trailing", "linspace")


def gaussian(schedule: NoiseSchedule) -> BaseDenoiser:
    mean, std = torch.full((1, 1, 2, 2), MEAN), torch.tensor([STD])
    return GaussianMixtureDenoiser(mean, std, torch.ones(1), schedule).double()


def two_moons(schedule: NoiseSchedule) -> BaseDenoiser:
    means = torch.stack([torch.full((1, 2, 2), -0.6), torch.full((1, 2, 2), 0.5)])
    return GaussianMixtureDenoiser(means, torch.tensor([0.15, 0.1]), torch.tensor([1.0, 2.0]), schedule).double()


def flow_map(schedule: NoiseSchedule, z: Tensor) -> Tensor:
    """x0 of the probability-flow ODE from the last timestep: the affine map between the two Gaussians."""
    last = torch.tensor([T - 1])
    alpha, sigma = schedule.alpha(last).item(), schedule.sigma(last).item()
    x_t = (sigma if alpha == 1 else 1.0) * z
    return MEAN + STD * (x_t - alpha * MEAN) / math.sqrt(alpha**2 * STD**2 + sigma**2)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("order", [1, 2])
def test_steps_converge_to_the_flow_of_a_gaussian_with_their_order(name: str, order: int) -> None:
    schedule, steps = SCHEDULES[name], [25, 50, 100]
    errors = [
        (integrate(gaussian(schedule), Z, None, step_times(T, n, "linspace"), order) - flow_map(schedule, Z))
        .abs()
        .max()
        for n in steps
    ]
    slope = -np.polyfit(np.log(steps), np.log([error.item() for error in errors]), 1)[0]
    assert order - 0.3 < slope < order + 0.7, errors


def test_heun_is_the_paper_s_algorithm() -> None:
    """Karras et al. 2022, algorithm 1 without churn, in 18 steps, on a denoiser that is not linear."""
    schedule, times = SCHEDULES["karras"], step_times(T, 18, "linspace")
    denoiser, sigmas = two_moons(schedule), [*schedule.noise_to_signal()[times].tolist(), 0.0]
    x = sigmas[0] * Z
    for i in range(18):
        gap = sigmas[i + 1] - sigmas[i]
        slope = (x - denoiser(x, torch.full((len(x),), times[i]))) / sigmas[i]
        ahead = x + gap * slope
        if i < 17:
            slope = (slope + (ahead - denoiser(ahead, torch.full((len(x),), times[i + 1]))) / sigmas[i + 1]) / 2
        x = x + gap * slope
    torch.testing.assert_close(integrate(denoiser, Z, None, times, 2), x, rtol=0, atol=1e-9)


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("spacing", ["leading", "trailing"])
def test_steps_are_those_of_diffusers(order: int, spacing: str) -> None:
    """The same steps in sigma / alpha, written by others, on a denoiser that is not linear."""
    kind = {1: EulerDiscreteScheduler, 2: HeunDiscreteScheduler}[order]
    scheduler = kind(trained_betas=BETAS.tolist(), timestep_spacing=spacing)
    scheduler.set_timesteps(20)
    schedule = SCHEDULES["betas"]
    denoiser, x = two_moons(schedule), None
    for t in scheduler.timesteps:
        steps = t.long().expand(len(Z))
        x = Z * (1 + schedule.noise_to_signal()[steps[0]] ** 2).sqrt() if x is None else x
        x_t = scheduler.scale_model_input(x, t)
        eps = scale(x_t - scale(denoiser(x_t, steps), schedule.alpha(steps)), 1 / schedule.sigma(steps))
        x = scheduler.step(eps, t, x).prev_sample
    found = integrate(denoiser, Z, None, step_times(T, 20, spacing), order)
    torch.testing.assert_close(found, x.double(), rtol=0, atol=2e-4)


@pytest.mark.parametrize("total", [10, 400, 1000])
@pytest.mark.parametrize("steps", [1, 2, 7, 10])
@pytest.mark.parametrize("spacing", SPACINGS)
def test_times_fall_within_the_schedule_and_reach_the_ends_they_should(total: int, steps: int, spacing: str) -> None:
    times = step_times(total, steps, spacing)
    assert len(times) == steps == len(set(times))
    assert times == sorted(times, reverse=True)
    assert (times[0] == total - 1) or spacing == "leading"
    assert (times[-1] == 0) or spacing == "trailing" or steps == 1
    assert 0 <= times[-1] < total


def test_steps_of_a_karras_schedule_with_both_ends_are_the_papers() -> None:
    """Karras et al. 2022, eq. 5, at N = 18, to the nearest of the table's levels."""
    found = SCHEDULES["karras"].noise_to_signal()[step_times(T, 18, "linspace")].numpy()
    wanted = [(80 ** (1 / 7) + i / 17 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7 for i in range(18)]
    np.testing.assert_allclose(found, wanted, rtol=0.015)


def test_labels_reach_the_denoiser() -> None:
    labels = torch.arange(16) % 2
    images = integrate(two_moons(SCHEDULES["karras"]), Z, labels, step_times(T, 20, "linspace"), 2).mean((1, 2, 3))
    assert ((images > 0) == (labels == 1)).all()
