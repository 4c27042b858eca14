"""Denoisers: from a noisy image to the mean of the clean one, `x0 = E[x0 | x_t]`, whatever the network predicts.

All share one call, `denoiser(x_t, t, labels) -> x0`; guidance wraps another denoiser.
"""

from functools import partial

import torch
from torch import Tensor, nn

from dmd.diffusion.calls import call_of
from dmd.diffusion.parametrization import PARAMETRIZATIONS, Coefficients, check_law, edm, training_weight
from dmd.diffusion.prompts import Prompts
from dmd.diffusion.schedule import NoiseSchedule, scale
from dmd.types import Images, Labels, PerSample, Timesteps


class BaseDenoiser(nn.Module):
    """What every denoiser has: its noise schedule, and the call `(x_t, t, labels) -> x0`."""

    schedule: NoiseSchedule


class Denoiser(BaseDenoiser):
    """A network, its noise schedule and the meaning of its output."""

    def __init__(
        self,
        backbone: nn.Module,
        schedule: NoiseSchedule,
        prediction_type: str,
        sigma_data: float = 0.5,
        prompts: Prompts | None = None,
    ) -> None:
        """Wrap a network that is called as `dmd.diffusion.calls` says; `sigma_data` is of prediction `edm`.

        With `prompts`, labels are rows of theirs, and the network is told these.

        Raises:
            ValueError: `prediction_type` is unknown, or the schedule is not of its kind.
        """
        super().__init__()
        if prediction_type not in PARAMETRIZATIONS:
            raise ValueError(
                f"prediction_type {prediction_type!r} is unknown; take one of {', '.join(PARAMETRIZATIONS)}"
            )
        every = torch.arange(schedule.num_timesteps)
        check_law(prediction_type, schedule.alpha(every), schedule.sigma(every))
        self.backbone = backbone
        self.schedule = schedule
        self.prediction_type = prediction_type
        self.prompts, self.sigma_data = prompts, sigma_data
        self._parametrization = PARAMETRIZATIONS[prediction_type]
        if prediction_type == "edm":
            self._parametrization = partial(edm, sigma_data=sigma_data)

    def forward(self, x_t: Images, t: Timesteps, labels: Labels | None = None) -> Images:
        """x0 = c_skip x_t + c_out F(c_in x_t, time(t), labels), see `dmd.diffusion.parametrization`."""
        coefficients, call = self._coefficients(t), call_of(self.backbone)
        condition = labels if self.prompts is None or labels is None else self.prompts.at(labels)
        output = call(self.backbone, scale(x_t, coefficients.c_in), self.schedule.time(t), condition)
        return scale(x_t, coefficients.c_skip) + scale(output.to(x_t.dtype), coefficients.c_out)

    def around(self, backbone: nn.Module) -> "Denoiser":
        """The same denoiser with another network."""
        return Denoiser(backbone, self.schedule, self.prediction_type, self.sigma_data, self.prompts)

    def training_weight(self, t: Timesteps) -> PerSample:
        """Weight of the squared error of x0 in training, float64, [B]."""
        alpha, sigma = self.schedule.alpha(t), self.schedule.sigma(t)
        return training_weight(self.prediction_type, alpha, sigma, self._coefficients(t))

    def _coefficients(self, t: Timesteps) -> Coefficients:
        return self._parametrization(self.schedule.alpha(t), self.schedule.sigma(t))


def denoising_loss(x0_hat: Images, x0: Images, weight: PerSample) -> Tensor:
    """L = mean over the batch of weight · mean over C, H, W of (x0_hat - x0)².

    With weight = snr this is the mean squared error of the noise that an epsilon network predicts (DMD eq. 6), since
    eps_hat - eps = -(alpha / sigma) (x0_hat - x0).
    """
    errors = (x0_hat.float() - x0.float()).square().mean(dim=(1, 2, 3))
    return (weight.to(errors.dtype) * errors).mean()
