"""The one-step student: `x = denoiser(input_scale · z, t*, labels)`, one network call."""

import torch
from torch import nn

from dmd.diffusion.denoiser import BaseDenoiser
from dmd.types import Images, Labels


class OneStepGenerator(nn.Module):
    """A denoiser called once, at the fixed timestep t* (DMD section 3.1; DMD2 section 4.4 for t* below T - 1)."""

    def __init__(self, denoiser: BaseDenoiser, timestep: int, input_scale: float = 1.0) -> None:
        """Wrap `denoiser`; `timestep` in 0 … T-1; `input_scale` is 1 for VP schedules, sigma_max for EDM's.

        Raises:
            ValueError: the timestep lies outside the schedule.
        """
        super().__init__()
        last = denoiser.schedule.num_timesteps - 1
        if not 0 <= timestep <= last:
            raise ValueError(f"generator_timestep {timestep} is outside the schedule: 0 … {last}")
        self.denoiser = denoiser
        self.timestep = timestep
        self.input_scale = input_scale

    def forward(self, z: Images, labels: Labels | None = None) -> Images:
        """Images from noise `z` ~ N(0, I)."""
        t = torch.full(z.shape[:1], self.timestep, device=z.device)
        return self.denoiser(self.input_scale * z, t, labels)
