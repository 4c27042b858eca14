"""The one-step generator is its denoiser, called once at t*."""

import pytest
import torch
from torch import Tensor, nn

from dmd.diffusion.denoiser import BaseDenoiser
from dmd.diffusion.generator import Generator
from dmd.diffusion.schedule import NoiseSchedule
from tests.diffusion.gaussian_mixture import GaussianMixtureDenoiser

pytestmark = pytest.mark.maths

SCHEDULE = NoiseSchedule.from_betas(torch.linspace(1e-4, 2e-2, 100))


class Recorded(BaseDenoiser):
    """A two-class mixture's denoiser that keeps what it was called with."""

    def __init__(self) -> None:
        super().__init__()
        means = torch.stack([torch.full((1, 2, 2), -0.5), torch.full((1, 2, 2), 0.5)])
        self.denoiser = GaussianMixtureDenoiser(means, torch.tensor([0.2, 0.1]), torch.ones(2), SCHEDULE)
        self.schedule = SCHEDULE
        self.calls: list[tuple[Tensor, Tensor, Tensor | None]] = []

    def forward(self, x_t: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        self.calls.append((x_t, t, labels))
        return self.denoiser(x_t, t, labels)


@pytest.mark.parametrize("labels", [None, torch.tensor([0, 1, 1, 0, 1])])
@pytest.mark.parametrize("timestep", [0, 60, 99])
def test_images_are_the_denoised_noise_of_one_call(timestep: int, labels: Tensor | None) -> None:
    z = torch.randn(5, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    recorded = Recorded()
    found = Generator(recorded, timestep)(z, labels)
    assert len(recorded.calls) == 1
    assert torch.equal(recorded.calls[0][1], torch.full((5,), timestep))
    assert torch.equal(found, Recorded()(z, torch.full((5,), timestep), labels))


def test_noise_is_scaled_for_a_variance_exploding_schedule() -> None:
    z = torch.randn(3, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    recorded = Recorded()
    recorded.schedule = NoiseSchedule.from_sigmas(torch.linspace(0.1, 80, 100, dtype=torch.float64))
    Generator(recorded, 99)(z)
    assert torch.equal(recorded.calls[0][0], 80 * z)


@pytest.mark.parametrize("timestep", [-1, 100, 1000])
def test_a_timestep_outside_the_schedule_is_refused(timestep: int) -> None:
    with pytest.raises(ValueError, match=rf"generator_timesteps \[{timestep}\]: .* outside the schedule: 0 … 99"):
        Generator(Recorded(), timestep)


def test_gradients_reach_the_network() -> None:
    class Gain(BaseDenoiser):
        def __init__(self) -> None:
            super().__init__()
            self.gain, self.schedule = nn.Parameter(torch.tensor(2.0)), SCHEDULE

        def forward(self, x_t: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
            return self.gain * x_t

    generator, z = Generator(Gain(), 5), torch.ones(2, 1, 2, 2)
    generator(z).sum().backward()
    assert next(generator.parameters()).grad == 8
