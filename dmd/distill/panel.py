"""Generated images as both scores see them: what matching pulls at, at three noise levels."""

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dmd.diffusion.rng import Stream, sample_noise
from dmd.types import Images, Labels

if TYPE_CHECKING:
    from dmd.distill.distiller import Distiller

PANEL_IMAGES = 8
"""So many of the fixed noises."""


def noise_levels(noise: tuple[float, float]) -> list[float]:
    """The middles of the low, middle and high third of a range of sigma / alpha, by logarithm."""
    low, high = (math.log(level) for level in noise)
    return [math.exp(low + share * (high - low)) for share in (1 / 6, 1 / 2, 5 / 6)]


@torch.no_grad()
def draw_panel(distiller: "Distiller", images: Images, labels: Labels | None) -> Tensor:
    """D_real(x_t) and D_fake(x_t) of the first images x, [3, 2, n, C, H, W]; the noise is the same at each call.

    At the timesteps nearest to `noise_levels` of the matching range.
    """
    x = images[:PANEL_IMAGES]
    classes = None if labels is None else labels[: len(x)]
    eps = sample_noise(distiller.batches.seed, range(len(x)), x.shape[1:], Stream.PANEL_NOISE).to(x.device)
    levels = distiller.schedule.noise_to_signal()
    rows = []
    for level in noise_levels(distiller.settings.matching.noise):
        timestep = int((levels.log() - math.log(level)).abs().argmin())
        t = torch.full((len(x),), timestep, device=x.device)
        x_t = distiller.schedule.add_noise(x, eps, t)
        rows.append(torch.stack([score(x_t, t, classes) for score in (distiller.scores.real, distiller.scores.fake)]))
    return torch.stack(rows)
