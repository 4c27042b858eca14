"""The exact denoiser of a Gaussian mixture."""

import torch
from torch import Tensor

from dmd.diffusion.denoiser import BaseDenoiser
from dmd.diffusion.schedule import NoiseSchedule
from dmd.types import Images, Labels, Timesteps


class GaussianMixtureDenoiser(BaseDenoiser):
    r"""The exact denoiser of a mixture `p(x0) = sum_k w_k N(m_k, s_k² I)`: a truth for tests, and a teacher of its own.

    With `v_k = alpha² s_k² + sigma²`, `x_t` has density `sum_k w_k N(alpha m_k, v_k I)`, and

        E[x0 | x_t] = sum_k p(k | x_t) (m_k + (alpha s_k² / v_k) (x_t - alpha m_k)).
    """

    means: Tensor
    stds: Tensor
    log_weights: Tensor

    def __init__(self, means: Images, stds: Tensor, weights: Tensor, schedule: NoiseSchedule) -> None:
        """Take K means [K, C, H, W], standard deviations [K] > 0 and weights [K] > 0 (normalised here)."""
        super().__init__()
        self.register_buffer("means", means)
        self.register_buffer("stds", stds)
        self.register_buffer("log_weights", torch.log(weights / weights.sum()))
        self.schedule = schedule

    def forward(self, x_t: Images, t: Timesteps, labels: Labels | None = None) -> Images:
        """The posterior mean; with labels, of component `labels[i]` alone."""
        alpha, sigma = (table.to(x_t.dtype)[:, None] for table in (self.schedule.alpha(t), self.schedule.sigma(t)))
        variance = alpha**2 * self.stds**2 + sigma**2
        residual = x_t[:, None] - alpha[..., None, None, None] * self.means
        gain = (alpha * self.stds**2 / variance)[..., None, None, None]
        component_x0 = self.means + gain * residual
        if labels is not None:
            return component_x0[torch.arange(len(x_t), device=x_t.device), labels]
        squares = residual.square().flatten(2).sum(2)
        log_density = -squares / (2 * variance) - 0.5 * x_t[0].numel() * variance.log()
        posterior = torch.softmax(self.log_weights + log_density, dim=1)
        return (posterior[..., None, None, None] * component_x0).sum(1)
