r"""The noise schedule: `x_t = alpha_t x0 + sigma_t eps`, eps ~ N(0, I).

Variance preserving (Ho et al. 2020, eq. 4): `alpha_t = sqrt(alpha_bar_t)`, `sigma_t = sqrt(1 - alpha_bar_t)`, with
`alpha_bar_t` the running product of `1 - beta`. Variance exploding (Karras et al. 2022): `alpha_t = 1`.
A network is told index t itself, or the noise level as `time_scale · ln(sigma_t / alpha_t)`.
Tables are float64; what is computed from them is cast once, where it is applied.
"""

from typing import Any

import torch
from torch import Tensor

from dmd.types import Images, PerSample, Table, Timesteps


class NoiseSchedule:
    """Signal and noise scales at T timesteps."""

    def __init__(self, alpha: Table, sigma: Table, time_scale: float | None = None) -> None:
        """Take the tables `alpha` > 0 and `sigma` ≥ 0, [T], sigma / alpha growing with t.

        `time_scale` is of a network that is told the noise level, and then sigma > 0; none = it is told the index.

        Raises:
            ValueError: the tables differ in length, are not finite, or the noise does not grow with t.
        """
        if alpha.shape != sigma.shape:
            raise ValueError(f"alpha has {len(alpha)} timesteps, sigma {len(sigma)}: they must agree")
        noise_to_signal = sigma.double() / alpha.double()
        if not bool(torch.isfinite(noise_to_signal.float()).all()) or bool((noise_to_signal.diff() < 0).any()):
            raise ValueError("sigma / alpha must be finite and must not fall with t: check the betas")
        self._tables = {torch.device("cpu"): (alpha.double().cpu(), sigma.double().cpu())}
        self.time_scale = time_scale

    @classmethod
    def from_betas(cls, betas: Table) -> "NoiseSchedule":
        """Variance-preserving schedule from `betas` in (0, 1), [T]."""
        if bool(((betas <= 0) | (betas >= 1)).any()):
            raise ValueError(f"betas must lie in (0, 1), got {betas.min():g} … {betas.max():g}")
        alpha_bar = torch.cumprod(1 - betas.double(), dim=0)
        return cls(alpha_bar.sqrt(), (1 - alpha_bar).sqrt())

    @classmethod
    def from_sigmas(cls, sigmas: Table) -> "NoiseSchedule":
        """Variance-exploding (EDM) schedule from noise levels `sigmas`, [T], growing with t; alpha is one."""
        return cls(torch.ones_like(sigmas, dtype=torch.float64), sigmas)

    @classmethod
    def from_karras(
        cls, num_timesteps: int, sigma_min: float, sigma_max: float, rho: float, time_scale: float
    ) -> "NoiseSchedule":
        """Sigmas from `sigma_min` up to `sigma_max`, sigma^(1/rho) in equal steps (Karras et al. 2022, eq. 5).

        The network is told c_noise = `time_scale` · ln sigma; theirs has 0.25, consistency models' and diffusers' 250.
        """
        low, high = sigma_min ** (1 / rho), sigma_max ** (1 / rho)
        sigmas = torch.linspace(low, high, num_timesteps, dtype=torch.float64) ** rho
        return cls(torch.ones_like(sigmas), sigmas, time_scale)

    @classmethod
    def from_scheduler(cls, scheduler: Any) -> "NoiseSchedule":
        """The schedule that a diffusers scheduler with `betas` was trained under."""
        return cls.from_betas(scheduler.betas.double())

    @property
    def num_timesteps(self) -> int:
        """T."""
        return len(self._tables[torch.device("cpu")][0])

    def alpha(self, t: Timesteps) -> PerSample:
        """Signal scale alpha_t, float64, [B]."""
        return self._on(t.device)[0][t]

    def sigma(self, t: Timesteps) -> PerSample:
        """Noise scale sigma_t, float64, [B]."""
        return self._on(t.device)[1][t]

    def snr(self, t: Timesteps) -> PerSample:
        """Signal-to-noise ratio alpha_t² / sigma_t², float64, [B]."""
        return (self.alpha(t) / self.sigma(t)) ** 2

    def time(self, t: Timesteps) -> Timesteps | PerSample:
        """What a network is told at timesteps t: their indices, or c_noise, float64, [B]."""
        return t if self.time_scale is None else self.time_scale * (self.sigma(t) / self.alpha(t)).log()

    def input_scale(self, t: int) -> float:
        """What noise of N(0, I) is multiplied with to stand for x_t: sigma_t where alpha_t is one, else 1."""
        alpha, sigma = self._tables[torch.device("cpu")]
        return sigma[t].item() if alpha[t] == 1 else 1.0

    def noise_to_signal(self) -> Table:
        """sigma_t / alpha_t of every timestep, float64, [T]: a noise level that means the same in all schedules."""
        alpha, sigma = self._tables[torch.device("cpu")]
        return sigma / alpha

    def timesteps_between(self, low: float, high: float) -> range:
        """The timesteps with low ≤ sigma_t / alpha_t ≤ high.

        Raises:
            ValueError: there are none; names the range and what the schedule has.
        """
        levels = self.noise_to_signal()
        inside = ((levels >= low) & (levels <= high)).nonzero().flatten()
        if not len(inside):
            raise ValueError(
                f"no timestep has a noise sigma / alpha in {low:g} … {high:g}; the schedule's {len(levels)} have "
                f"{levels.min():.3g} … {levels.max():.3g}; widen the range"
            )
        return range(int(inside[0]), int(inside[-1]) + 1)

    def add_noise(self, x0: Images, eps: Images, t: Timesteps) -> Images:
        """x_t = alpha_t x0 + sigma_t eps, in the dtype of `x0`."""
        return scale(x0, self.alpha(t)) + scale(eps, self.sigma(t))

    def _on(self, device: torch.device) -> tuple[Tensor, Tensor]:
        if device not in self._tables:
            alpha, sigma = self._tables[torch.device("cpu")]
            self._tables[device] = (alpha.to(device), sigma.to(device))
        return self._tables[device]


def scale(x: Images, factor: PerSample) -> Images:
    """Each image times its own factor, in the dtype of `x`."""
    return x * factor.to(x.dtype)[:, None, None, None]
