"""The student: a denoiser called once at t*, or a few times at falling timesteps with fresh noise between."""

import hashlib
import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dmd.diffusion.denoiser import BaseDenoiser
from dmd.diffusion.rng import Stream, sample_noise
from dmd.types import Images, Labels, Timesteps


class Generator(nn.Module):
    """`x = D(input_scale · z, t_1)`, then `x = D(alpha_k x + sigma_k eps_k, t_k)` at each further timestep.

    DMD section 3.1 for one step; DMD2 section 4.4 and 4.5 for t* below T - 1 and for several.
    """

    def __init__(self, denoiser: BaseDenoiser, timesteps: int | Sequence[int]) -> None:
        """Wrap `denoiser`; `timesteps` in 0 … T-1, falling; the schedule has the scale of the first one's input.

        Raises:
            ValueError: a timestep lies outside the schedule, there is none, or they do not fall.
        """
        super().__init__()
        last = denoiser.schedule.num_timesteps - 1
        steps = [timesteps] if isinstance(timesteps, int) else list(timesteps)
        if not steps or any(not 0 <= timestep <= last for timestep in steps):
            raise ValueError(f"generator_timesteps {steps}: there is none, or one outside the schedule: 0 … {last}")
        if any(later >= earlier for earlier, later in itertools.pairwise(steps)):
            raise ValueError(f"generator_timesteps {steps} do not fall; sort them from noise to image")
        self.denoiser = denoiser
        self.timesteps = steps
        self.input_scale = denoiser.schedule.input_scale(steps[0])

    @property
    def nfe(self) -> int:
        """Network calls an image."""
        return len(self.timesteps)

    def forward(self, z: Images, labels: Labels | None = None, eps: Sequence[Images] | None = None) -> Images:
        """Images from noise `z` ~ N(0, I).

        `eps` has the noise of each step but the first; without it, it is drawn as a function of each sample's `z`.
        """
        eps = self.draw_noises(z) if eps is None else eps
        return self.denoiser(*self.rollout(z, labels, eps, self.nfe - 1), labels)

    def rollout(self, z: Images, labels: Labels | None, eps: Sequence[Images], step: int) -> tuple[Images, Timesteps]:
        """What the network is called with at step `step`, from 0, and the timestep [B]; no gradient goes through it.

        The steps before are taken as the generator takes them: backward simulation (DMD2 section 4.5).
        """
        x_t, t = self.input_scale * z, self._at(0, z)
        with torch.no_grad():
            for k in range(step):
                x0 = self.denoiser(x_t, t, labels)
                t = self._at(k + 1, z)
                x_t = self.denoiser.schedule.add_noise(x0, eps[k], t)
        return x_t, t

    def draw_noises(self, z: Images) -> list[Images]:
        """Noise for each step but the first, a function of each sample's `z`: independent of batch and device."""
        if self.nfe == 1:
            return []
        keys = [int.from_bytes(hashlib.sha256(_bytes(row)).digest()[:7], "little") for row in z]
        drawn = [
            sample_noise(k, keys, z.shape[1:], Stream.ROLLOUT_NOISE).to(z.device, z.dtype) for k in range(self.nfe - 1)
        ]
        return drawn

    def _at(self, step: int, z: Images) -> Timesteps:
        return torch.full(z.shape[:1], self.timesteps[step], device=z.device)


def _bytes(row: Tensor) -> bytes:
    return row.detach().float().cpu().contiguous().numpy().tobytes()
