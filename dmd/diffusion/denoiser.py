"""Denoisers: from a noisy image to the mean of the clean one, `x0 = E[x0 | x_t]`, whatever the network predicts.

All share one call, `denoiser(x_t, t, labels) -> x0`; guidance wraps another denoiser.
"""

import torch
from torch import Tensor, nn

from dmd.models.needs import check_null_class
from dmd.diffusion.parametrization import PARAMETRIZATIONS
from dmd.diffusion.schedule import NoiseSchedule, scale
from dmd.types import Images, Labels, Timesteps


class BaseDenoiser(nn.Module):
    """What every denoiser has: its noise schedule, and the call `(x_t, t, labels) -> x0`."""

    schedule: NoiseSchedule


class Denoiser(BaseDenoiser):
    """A network, its noise schedule and the meaning of its output."""

    def __init__(self, backbone: nn.Module, schedule: NoiseSchedule, prediction_type: str) -> None:
        """Wrap `backbone(x, t, class_labels=…, return_dict=False) -> (F,)`.

        Raises:
            ValueError: `prediction_type` is unknown.
        """
        super().__init__()
        if prediction_type not in PARAMETRIZATIONS:
            raise ValueError(
                f"prediction_type {prediction_type!r} is unknown; take one of {', '.join(PARAMETRIZATIONS)}"
            )
        self.backbone = backbone
        self.schedule = schedule
        self.prediction_type = prediction_type

    def forward(self, x_t: Images, t: Timesteps, labels: Labels | None = None) -> Images:
        """x0 = c_skip x_t + c_out F(c_in x_t, t, labels), see `dmd.diffusion.parametrization`."""
        coefficients = PARAMETRIZATIONS[self.prediction_type](self.schedule.alpha(t), self.schedule.sigma(t))
        output = self.backbone(scale(x_t, coefficients.c_in), t, class_labels=labels, return_dict=False)[0]
        return scale(x_t, coefficients.c_skip) + scale(output.to(x_t.dtype), coefficients.c_out)


class GuidedDenoiser(BaseDenoiser):
    """Classifier-free guidance (Ho & Salimans 2022): `x0 = x0_uncond + s (x0_cond - x0_uncond)`; s = 1 is none."""

    def __init__(self, denoiser: BaseDenoiser, guidance_scale: float, null_label: int) -> None:
        """Wrap `denoiser`; `null_label` is the class index that means no label."""
        super().__init__()
        self.denoiser = denoiser
        self.schedule = denoiser.schedule
        self.guidance_scale = guidance_scale
        self.null_label = null_label

    def forward(self, x_t: Images, t: Timesteps, labels: Labels) -> Images:
        """Both halves in one network call of twice the batch; one plain call when the scale is 1."""
        if self.guidance_scale == 1.0:
            return self.denoiser(x_t, t, labels)
        both = torch.cat([labels, torch.full_like(labels, self.null_label)])
        cond, uncond = self.denoiser(torch.cat([x_t, x_t]), torch.cat([t, t]), both).chunk(2)
        return uncond + self.guidance_scale * (cond - uncond)


def with_guidance(denoiser: Denoiser, guidance_scale: float, num_classes: int | None) -> BaseDenoiser:
    """The denoiser itself where guidance is off (1.0), else wrapped; the null class is index `num_classes`.

    Raises:
        ValueError: guidance is asked of a network that has no null class.
    """
    if guidance_scale != 1.0:
        check_null_class(guidance_scale, getattr(denoiser.backbone.config, "num_class_embeds", None), num_classes)
    if guidance_scale == 1.0 or num_classes is None:
        return denoiser
    return GuidedDenoiser(denoiser, guidance_scale, num_classes)


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
