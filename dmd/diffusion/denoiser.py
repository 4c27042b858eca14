"""Denoisers: from a noisy image to the mean of the clean one, `x0 = E[x0 | x_t]`, whatever the network predicts.

All share one call, `denoiser(x_t, t, labels) -> x0`; guidance wraps another denoiser.
"""

from torch import Tensor, nn

from dmd.diffusion.parametrization import PARAMETRIZATIONS
from dmd.diffusion.schedule import NoiseSchedule, scale
from dmd.types import Images, Labels, PerSample, Timesteps


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


def denoising_loss(x0_hat: Images, x0: Images, weight: PerSample) -> Tensor:
    """L = mean over the batch of weight · mean over C, H, W of (x0_hat - x0)².

    With weight = snr this is the mean squared error of the noise that an epsilon network predicts (DMD eq. 6), since
    eps_hat - eps = -(alpha / sigma) (x0_hat - x0).
    """
    errors = (x0_hat.float() - x0.float()).square().mean(dim=(1, 2, 3))
    return (weight.to(errors.dtype) * errors).mean()
