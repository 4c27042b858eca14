"""Gaussian data N(mean_k, STD² I) of class k, whose best denoiser and whose probability-flow ODE are known exactly."""

import math

import torch
from torch import Tensor, nn

from dmd.diffusion.schedule import NoiseSchedule, scale

SCHEDULE = NoiseSchedule.from_betas(torch.linspace(1e-4, 2e-2, 1000, dtype=torch.float64))
MEANS = (0.4, -0.6, 0.1)
"""Of the classes; the last of them is that of the null class where one is used."""

STD = 0.8
SHAPE = (2, 3, 4)


class Exact(nn.Module):
    """A network of one's own: plain, called with the image, the timestep and the labels, if there are any."""

    def __init__(self, prediction_type: str = "epsilon") -> None:
        super().__init__()
        self.prediction_type, self.means = prediction_type, nn.Parameter(torch.tensor(MEANS))
        self.log_std = nn.Parameter(torch.tensor(math.log(STD)))

    def forward(self, x_t: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        alpha, sigma = SCHEDULE.alpha(t), SCHEDULE.sigma(t)
        mean = self.means[torch.zeros_like(t) if labels is None else labels][:, None, None, None].expand_as(x_t)
        variance = (2 * self.log_std).exp()
        gain = alpha * variance / (alpha**2 * variance + sigma**2)
        x0 = mean + scale(x_t - scale(mean, alpha), gain)
        eps = scale(x_t - scale(x0, alpha), 1 / sigma)
        return {"epsilon": eps, "sample": x0, "v_prediction": scale(eps, alpha) - scale(x0, sigma)}[
            self.prediction_type
        ]


def solution(z: Tensor, means: Tensor) -> Tensor:
    """Where the ODE ends: (x_t - alpha_t mean) / sqrt(alpha_t² STD² + sigma_t²) does not change along it."""
    last = torch.tensor([SCHEDULE.num_timesteps - 1])
    alpha, sigma = SCHEDULE.alpha(last).item(), SCHEDULE.sigma(last).item()
    mean = means.float()[:, None, None, None]
    return mean + STD * (z - alpha * mean) / (alpha**2 * STD**2 + sigma**2) ** 0.5
