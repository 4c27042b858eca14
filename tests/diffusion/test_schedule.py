"""Schedules against diffusers' tables and closed forms."""

import math

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler
from jaxtyping import config as jaxtyping_config

from dmd.diffusion.schedule import NoiseSchedule, scale

pytestmark = pytest.mark.maths

KINDS = ("linear", "scaled_linear", "squaredcos_cap_v2")


def ddpm(kind: str = "linear", timesteps: int = 1000, end: float = 2e-2) -> DDPMScheduler:
    return DDPMScheduler(num_train_timesteps=timesteps, beta_schedule=kind, beta_start=1e-4, beta_end=end)


@pytest.mark.parametrize("kind", KINDS)
def test_tables_are_those_of_diffusers(kind: str) -> None:
    scheduler = ddpm(kind)
    schedule = NoiseSchedule.from_scheduler(scheduler)
    t = torch.arange(1000)
    assert schedule.num_timesteps == 1000
    torch.testing.assert_close(schedule.alpha(t) ** 2, scheduler.alphas_cumprod.double(), rtol=1e-4, atol=1e-9)
    torch.testing.assert_close(schedule.sigma(t) ** 2, 1 - scheduler.alphas_cumprod.double(), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_noising_is_that_of_diffusers(kind: str) -> None:
    scheduler = ddpm(kind)
    generator = torch.Generator().manual_seed(0)
    x0, eps = torch.randn(2, 64, 1, 4, 4, generator=generator)
    t = torch.randint(0, 1000, (64,), generator=generator)
    x_t = NoiseSchedule.from_scheduler(scheduler).add_noise(x0, eps, t)
    assert x_t.dtype == torch.float32
    torch.testing.assert_close(x_t, scheduler.add_noise(x0, eps, t), rtol=1e-5, atol=1e-5)


def test_linear_betas_against_their_product_in_python() -> None:
    betas = np.linspace(1e-4, 2e-2, 1000)
    alpha_bar = math.prod(1 - beta for beta in betas[:700].tolist())
    schedule = NoiseSchedule.from_betas(torch.from_numpy(betas))
    t = torch.tensor([699])
    assert schedule.alpha(t).item() == pytest.approx(math.sqrt(alpha_bar), rel=1e-12)
    assert schedule.snr(t).item() == pytest.approx(alpha_bar / (1 - alpha_bar), rel=1e-12)


def test_cosine_betas_against_their_closed_form() -> None:
    schedule = NoiseSchedule.from_scheduler(ddpm("squaredcos_cap_v2"))
    t = torch.arange(0, 990)
    angle = ((t.double() + 1) / 1000 + 0.008) / 1.008 * math.pi / 2
    expected = torch.cos(angle) ** 2 / math.cos(0.008 / 1.008 * math.pi / 2) ** 2
    torch.testing.assert_close(schedule.alpha(t) ** 2, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_variance_is_preserved(kind: str) -> None:
    schedule = NoiseSchedule.from_scheduler(ddpm(kind))
    t = torch.arange(1000)
    assert (schedule.alpha(t) ** 2 + schedule.sigma(t) ** 2 - 1).abs().max() < 1e-12
    assert (schedule.snr(t).diff() < 0).all()


def test_noised_data_has_the_variance_that_the_tables_say() -> None:
    schedule = NoiseSchedule.from_scheduler(ddpm())
    generator = torch.Generator().manual_seed(1)
    x0 = 0.3 * torch.randn(1, 1, 200, 200, generator=generator)
    x_t = schedule.add_noise(x0, torch.randn(x0.shape, generator=generator), torch.tensor([300]))
    alpha_bar = np.prod(1 - np.linspace(1e-4, 2e-2, 1000)[:301])
    assert x_t.var().item() == pytest.approx(alpha_bar * 0.09 + 1 - alpha_bar, rel=0.03)


def test_edm_noise_levels() -> None:
    steps = torch.linspace(0, 1, 18, dtype=torch.float64)
    sigmas = (0.002 ** (1 / 7) + steps * (80 ** (1 / 7) - 0.002 ** (1 / 7))) ** 7
    schedule = NoiseSchedule.from_sigmas(sigmas)
    t = torch.arange(18)
    assert torch.equal(schedule.alpha(t), torch.ones(18, dtype=torch.float64))
    assert torch.equal(schedule.sigma(t), sigmas)
    torch.testing.assert_close(schedule.snr(t), sigmas**-2)
    x0, eps = torch.full((1, 1, 1, 1), 0.5), torch.full((1, 1, 1, 1), -1.0)
    assert schedule.add_noise(x0, eps, torch.tensor([17])).item() == pytest.approx(-79.5)


@pytest.mark.parametrize("time_scale", [0.25, 250.0])
def test_karras_levels_and_what_the_network_is_told_of_them(time_scale: float) -> None:
    """Karras et al. 2022, eq. 5 and table 1: c_noise = ln(sigma) / 4; consistency models have a thousand times that."""
    schedule, t = NoiseSchedule.from_karras(18, 0.002, 80.0, 7.0, time_scale), torch.arange(18)
    sigmas = np.array([(80 ** (1 / 7) + i / 17 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7 for i in range(18)])[::-1]
    np.testing.assert_allclose(schedule.sigma(t), sigmas, rtol=1e-12)
    assert torch.equal(schedule.alpha(t), torch.ones(18, dtype=torch.float64))
    np.testing.assert_allclose(schedule.time(t), time_scale * np.log(sigmas), rtol=1e-12)


def test_a_schedule_of_betas_tells_the_index_and_takes_noise_as_it_is() -> None:
    schedule, t = NoiseSchedule.from_betas(torch.linspace(1e-4, 2e-2, 10)), torch.tensor([0, 9])
    assert schedule.time(t) is t
    assert (schedule.input_scale(0), schedule.input_scale(9)) == (1.0, 1.0)
    assert NoiseSchedule.from_sigmas(torch.tensor([0.5, 80.0])).input_scale(1) == 80.0


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_tables_are_float64_on_every_device_and_images_keep_their_dtype(device: str) -> None:
    schedule = NoiseSchedule.from_betas(torch.linspace(1e-4, 2e-2, 10))
    t = torch.tensor([0, 9], device=device)
    for value in (schedule.alpha(t), schedule.sigma(t), schedule.snr(t)):
        assert (value.dtype, value.device.type) == (torch.float64, device)
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        x = torch.zeros(2, 1, 3, 3, dtype=dtype, device=device)
        x_t = schedule.add_noise(x, x, t)
        assert (x_t.dtype, x_t.device.type) == (dtype, device)


def test_scale_is_per_image() -> None:
    scaled = scale(torch.ones(2, 1, 2, 2), torch.tensor([2.0, -3.0], dtype=torch.float64))
    assert torch.equal(scaled[:, 0, 0, 0], torch.tensor([2.0, -3.0]))
    assert scaled.dtype == torch.float32


@pytest.mark.parametrize("betas", [[0.0, 0.1], [0.1, 1.0], [-0.1, 0.1], [0.1, 1.5]])
def test_betas_outside_their_interval_are_refused(betas: list[float]) -> None:
    with pytest.raises(ValueError, match=r"betas must lie in \(0, 1\), got"):
        NoiseSchedule.from_betas(torch.tensor(betas))


def test_wrong_tables_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    one = torch.ones(3, dtype=torch.float64)
    with pytest.raises(ValueError, match="must not fall with t"):
        NoiseSchedule(one, torch.tensor([0.1, 0.3, 0.2]))
    with pytest.raises(ValueError, match="must be finite"):
        NoiseSchedule(torch.tensor([1.0, 0.5, 0.0]), one)
    with pytest.raises(ValueError, match="must be finite"):
        NoiseSchedule.from_sigmas(torch.tensor([0.1, float("nan"), 1.0]))
    monkeypatch.setattr(jaxtyping_config, "jaxtyping_disable", True)  # outside of tests, shapes are not checked
    with pytest.raises(ValueError, match="alpha has 3 timesteps, sigma 2"):
        NoiseSchedule(one, torch.tensor([0.1, 0.3]))
