"""What a network's output means: round trips, published amplifications, EDM's unit variances."""

import pytest
import torch
from diffusers import EDMEulerScheduler
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dmd.diffusion.denoiser import Denoiser
from dmd.diffusion.parametrization import PARAMETRIZATIONS, Coefficients, edm, training_weight
from dmd.diffusion.schedule import NoiseSchedule

pytestmark = pytest.mark.maths


def linear(timesteps: int = 1000, end: float = 2e-2) -> NoiseSchedule:
    return NoiseSchedule.from_betas(torch.linspace(1e-4, end, timesteps, dtype=torch.float64))


def x0_of(coefficients: Coefficients, x_t: Tensor, output: Tensor) -> Tensor:
    return coefficients.c_skip * x_t + coefficients.c_out * output


def tensor(low: float, high: float) -> st.SearchStrategy[Tensor]:
    numbers = st.lists(st.floats(low, high), min_size=6, max_size=6)
    return numbers.map(lambda values: torch.tensor(values, dtype=torch.float64))


OUTPUTS = {
    "epsilon": lambda alpha, sigma, x0, eps: eps,
    "v_prediction": lambda alpha, sigma, x0, eps: alpha * eps - sigma * x0,
    "sample": lambda alpha, sigma, x0, eps: x0,
}


@pytest.mark.parametrize("name", OUTPUTS)
@settings(max_examples=60, deadline=None, derandomize=True)
@given(x0=tensor(-1, 1), eps=tensor(-4, 4), times=st.lists(st.integers(0, 999), min_size=6, max_size=6))
def test_an_output_made_from_x0_gives_x0_back(name: str, x0: Tensor, eps: Tensor, times: list[int]) -> None:
    t = torch.tensor(times)
    alpha, sigma = linear().alpha(t), linear().sigma(t)
    x_t = alpha * x0 + sigma * eps
    coefficients = PARAMETRIZATIONS[name](alpha, sigma)
    recovered = x0_of(coefficients, coefficients.c_in * x_t, OUTPUTS[name](alpha, sigma, x0, eps))
    assert (recovered - x0).abs().max() < 1e-12
    assert all(coefficient.dtype == torch.float64 for coefficient in coefficients)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(x0=tensor(-1, 1), eps=tensor(-4, 4), sigma=tensor(0, 1))
def test_a_flow_s_velocity_gives_x0_back(x0: Tensor, eps: Tensor, sigma: Tensor) -> None:
    coefficients = PARAMETRIZATIONS["flow"](1 - sigma, sigma)
    x_t = (1 - sigma) * x0 + sigma * eps
    assert (x0_of(coefficients, coefficients.c_in * x_t, eps - x0) - x0).abs().max() < 1e-12


def weight(name: str, alpha: Tensor, sigma: Tensor) -> Tensor:
    return training_weight(name, alpha, sigma, PARAMETRIZATIONS[name](alpha, sigma))


def test_the_weight_of_x0_is_that_of_the_noise_or_of_the_output() -> None:
    """Karras et al. 2022, eq. 8 and table 1: (sigma² + sd²) / (sigma sd)²; a flow's 1 / sigma²; elsewhere the SNR."""
    sigma = torch.logspace(-2, 1.9, 30, dtype=torch.float64)
    one = torch.ones_like(sigma)
    torch.testing.assert_close(weight("edm", one, sigma), (sigma**2 + 0.25) / (0.5 * sigma) ** 2, rtol=1e-12, atol=0)
    share = torch.linspace(0.01, 0.99, 30, dtype=torch.float64)
    torch.testing.assert_close(weight("flow", 1 - share, share), share**-2, rtol=1e-12, atol=0)
    t = torch.arange(1000)
    for name in ("epsilon", "v_prediction", "sample"):
        assert torch.equal(weight(name, linear().alpha(t), linear().sigma(t)), linear().snr(t))
    of_output = 1 / PARAMETRIZATIONS["epsilon"](linear().alpha(t), linear().sigma(t)).c_out ** 2
    torch.testing.assert_close(of_output, linear().snr(t), rtol=1e-12, atol=0)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(x0=tensor(-1, 1), eps=tensor(-4, 4), sigma=tensor(0.002, 80), sigma_data=st.floats(0.1, 2))
def test_edm_gives_x0_back_from_its_training_target(x0: Tensor, eps: Tensor, sigma: Tensor, sigma_data: float) -> None:
    """The target of Karras et al. 2022, eq. 8, with its factors written out from table 1."""
    x_t = x0 + sigma * eps
    root = torch.sqrt(sigma**2 + sigma_data**2)
    target = (x0 - sigma_data**2 / root**2 * x_t) * root / (sigma * sigma_data)
    coefficients = edm(torch.ones_like(sigma), sigma, sigma_data)
    assert (x0_of(coefficients, x_t, target) - x0).abs().max() < 1e-12


def test_edm_gives_input_and_target_unit_variance() -> None:
    sigma = torch.logspace(-2.7, 1.9, 30, dtype=torch.float64)
    c_skip, c_out, c_in = edm(torch.ones_like(sigma), sigma, 0.5)
    one = torch.ones_like(sigma)
    torch.testing.assert_close(c_in**2 * (sigma**2 + 0.25), one, rtol=1e-12, atol=0)
    torch.testing.assert_close(((1 - c_skip) ** 2 * 0.25 + c_skip**2 * sigma**2) / c_out**2, one, rtol=1e-12, atol=0)


def test_edm_agrees_with_diffusers() -> None:
    scheduler = EDMEulerScheduler(sigma_data=0.5)
    generator = torch.Generator().manual_seed(0)
    x_t, output = torch.randn(2, 5, generator=generator, dtype=torch.float64)
    for sigma in torch.tensor([0.002, 0.3, 5.0, 80.0], dtype=torch.float64):
        coefficients = edm(torch.ones(1, dtype=torch.float64), sigma[None])
        torch.testing.assert_close(coefficients.c_in * x_t, scheduler.precondition_inputs(x_t, sigma))
        expected = scheduler.precondition_outputs(x_t, output, sigma)
        torch.testing.assert_close(x0_of(coefficients, x_t, output), expected)


@pytest.mark.parametrize(
    ("timesteps", "end", "t", "published"),
    [
        (1000, 2e-2, 999, "157"),
        (1000, 2e-2, 799, "25.5"),
        (1000, 2e-2, 499, "3.4"),
        (1000, 2e-2, 399, "2.0"),
        (1000, 1e-2, 999, "12.6"),
        (400, 2e-2, 399, "7.5"),
    ],
)
def test_amplification_of_an_epsilon_networks_error(timesteps: int, end: float, t: int, published: str) -> None:
    schedule, last = linear(timesteps, end), torch.tensor([t])
    gain = -PARAMETRIZATIONS["epsilon"](schedule.alpha(last), schedule.sigma(last)).c_out.item()
    assert f"{gain:.{len(published.partition('.')[2])}f}" == published


EXPLODING = NoiseSchedule.from_sigmas(torch.tensor([0.1, 1.0, 80.0], dtype=torch.float64))


@pytest.mark.parametrize(
    ("prediction", "schedule", "words"),
    [
        ("v_prediction", EXPLODING, r"`v_prediction` needs alpha² \+ sigma² = 1"),
        ("flow", linear(), "`flow` needs alpha = 1 - sigma"),
        ("edm", linear(), "`edm` needs alpha = 1"),
    ],
)
def test_a_schedule_of_another_kind_is_refused_when_the_denoiser_is_made(
    prediction: str, schedule: NoiseSchedule, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        Denoiser(torch.nn.Identity(), schedule, prediction)
