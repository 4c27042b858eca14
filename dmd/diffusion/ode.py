"""Euler's and Heun's steps of the probability-flow ODE, for any schedule `x_s = alpha_s x0 + sigma_s eps`.

In `x / alpha` over `sigma / alpha` the ODE's slope is eps (Karras et al. 2022, eq. 4 in these variables). Euler's step
goes along it, which is DDIM; Heun's along the mean of the slopes at both ends (their algorithm 1).
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from dmd.diffusion.denoiser import BaseDenoiser
from dmd.diffusion.schedule import scale
from dmd.types import Images, Labels


def step_times(total: int, num_steps: int, timestep_spacing: str) -> list[int]:
    """`num_steps` of the timesteps 0 … `total` - 1, falling: from 0 up, from the last down, or with both ends."""
    if timestep_spacing == "leading":
        return [step * (total // num_steps) for step in reversed(range(num_steps))]
    if timestep_spacing == "trailing":
        return [round(total - step * total / num_steps) - 1 for step in range(num_steps)]
    gap = (total - 1) / max(num_steps - 1, 1)
    return [round(total - 1 - step * gap) for step in range(num_steps)]


def integrate(denoiser: BaseDenoiser, z: Images, labels: Labels | None, times: Sequence[int], order: int) -> Images:
    """Images from noise `z` ~ N(0, I), by steps from each of `times` to the next and from the last to x0.

    `order` 1 is Euler's, 2 Heun's; the last step is Euler's, since there is no noise to be told at its end.
    """
    schedule = denoiser.schedule
    levels = schedule.noise_to_signal()

    def slope(x_t: Images, t: Tensor) -> tuple[Images, Images]:
        """x0 and eps at a noisy image."""
        x0 = denoiser(x_t, t, labels)
        return x0, scale(x_t - scale(x0, schedule.alpha(t)), 1 / schedule.sigma(t))

    x_t = schedule.input_scale(times[0]) * z
    for now, later in pairwise(times):
        t, s = (torch.full(z.shape[:1], time, device=z.device) for time in (now, later))
        x0, eps = slope(x_t, t)
        x_t = schedule.add_noise(x0, eps, s)
        if order == 2:
            half = 0.5 * schedule.alpha(s) * (levels[later] - levels[now]).item()
            x_t = x_t + scale(slope(x_t, s)[1] - eps, half)
    return denoiser(x_t, torch.full(z.shape[:1], times[-1], device=z.device), labels)
