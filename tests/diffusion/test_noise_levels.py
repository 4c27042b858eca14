"""Timesteps by noise level: the closed forms of a linear and of an EDM schedule, and what is refused."""

import math

import pytest
import torch

from dmd.diffusion.schedule import NoiseSchedule

pytestmark = pytest.mark.maths

BETA = 0.01
CONSTANT = NoiseSchedule.from_betas(torch.full((400,), BETA, dtype=torch.float64))
"""alpha_bar_t = (1 - BETA)^(t + 1)."""
RHO, LEAST, GREATEST, STEPS = 7, 0.002, 80.0, 256
RAMP = torch.linspace(0, 1, STEPS, dtype=torch.float64)
EDM = NoiseSchedule.from_sigmas((LEAST ** (1 / RHO) + RAMP * (GREATEST ** (1 / RHO) - LEAST ** (1 / RHO))) ** RHO)
"""Karras et al. 2022, eq. 5, from the least noise."""


def constant_time(level: float) -> float:
    """Where sigma / alpha is `level`: (1 - alpha_bar) / alpha_bar = level², so alpha_bar = 1 / (1 + level²)."""
    return -math.log(1 + level**2) / math.log(1 - BETA) - 1


def edm_time(level: float) -> float:
    return (STEPS - 1) * (level ** (1 / RHO) - LEAST ** (1 / RHO)) / (GREATEST ** (1 / RHO) - LEAST ** (1 / RHO))


def test_noise_levels_of_linear_betas_are_their_product() -> None:
    betas = [1e-4 + t / 99 * (2e-2 - 1e-4) for t in range(100)]
    found = NoiseSchedule.from_betas(torch.tensor(betas, dtype=torch.float64)).noise_to_signal()
    for t in (0, 1, 50, 99):
        alpha_bar = math.prod(1 - beta for beta in betas[: t + 1])
        assert found[t].item() == pytest.approx(math.sqrt(1 / alpha_bar - 1), rel=1e-10)


def test_noise_levels_of_an_edm_schedule_are_its_sigmas() -> None:
    found = EDM.noise_to_signal()
    assert [found[0].item(), found[-1].item()] == pytest.approx([LEAST, GREATEST], rel=1e-12)
    assert edm_time(found[100].item()) == pytest.approx(100, abs=1e-8)


@pytest.mark.parametrize(("low", "high"), [(0.2, 3.0), (0.5, 0.6), (0.16, 7.0)])
def test_timesteps_between_two_levels_are_those_of_the_closed_form(low: float, high: float) -> None:
    """The same range has other timesteps in another schedule, and the same levels."""
    ranges = []
    for schedule, time in ((CONSTANT, constant_time), (EDM, edm_time)):
        found = schedule.timesteps_between(low, high)
        assert (found.start, found.stop - 1) == (math.ceil(time(low)), math.floor(time(high)))
        levels = schedule.noise_to_signal()
        assert low <= levels[found.start]
        assert levels[found.stop - 1] <= high
        assert levels[found.start] / low < 1.2
        assert high / levels[found.stop - 1] < 1.2
        ranges.append(found)
    assert ranges[0] != ranges[1]


def test_both_ends_belong_to_the_range() -> None:
    levels = EDM.noise_to_signal()
    assert EDM.timesteps_between(levels[7].item(), levels[9].item()) == range(7, 10)
    assert EDM.timesteps_between(levels[7].item(), levels[7].item()) == range(7, 8)
    assert EDM.timesteps_between(0.0, 1e9) == range(STEPS)


@pytest.mark.parametrize(("low", "high"), [(81.0, 1000.0), (1e-5, 1e-4), (0.00201, 0.00202)])
def test_a_range_without_timesteps_is_refused(low: float, high: float) -> None:
    message = rf"sigma / alpha in {low:g} … {high:g}; the schedule's 256 have 0.002 … 80; widen the range"
    with pytest.raises(ValueError, match=message):
        EDM.timesteps_between(low, high)
