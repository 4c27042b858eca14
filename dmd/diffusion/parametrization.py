r"""What a network's output F means, as coefficients of one formula: `x0 = c_skip x_t + c_out F(c_in x_t)`.

| prediction     | c_skip  | c_out           | c_in |                                                   |
|----------------|---------|-----------------|------|---------------------------------------------------|
| `epsilon`      | 1/alpha | -sigma/alpha    | 1    | Ho et al. 2020, eq. 9                             |
| `v_prediction` | alpha   | -sigma          | 1    | Salimans & Ho 2022, app. D; alpha² + sigma² = 1   |
| `sample`       | 0       | 1               | 1    |                                                   |
| `flow`         | 1       | -sigma          | 1    | Lipman et al. 2023; F = eps - x0, alpha = 1-sigma |
| `edm`          | sd²/s²  | sigma sd / s    | 1/s  | Karras et al. 2022, table 1; s² = sigma² + sd²    |

Names are diffusers'. Coefficients are float64: at the noisy end c_out amplifies (157 for google/ddpm-cifar10-32).
"""

from collections.abc import Callable
from typing import NamedTuple

import torch

from dmd.types import PerSample, Table


class Coefficients(NamedTuple):
    """`x0 = c_skip x_t + c_out F(c_in x_t)`; each float64, [B]."""

    c_skip: PerSample
    c_out: PerSample
    c_in: PerSample


Parametrization = Callable[[PerSample, PerSample], Coefficients]
"""From alpha_t and sigma_t to coefficients."""


def epsilon(alpha: PerSample, sigma: PerSample) -> Coefficients:
    """F is the noise: x0 = (x_t - sigma F) / alpha."""
    return Coefficients(1 / alpha, -sigma / alpha, torch.ones_like(alpha))


def v_prediction(alpha: PerSample, sigma: PerSample) -> Coefficients:
    """F is the velocity alpha eps - sigma x0: x0 = alpha x_t - sigma F."""
    return Coefficients(alpha, -sigma, torch.ones_like(alpha))


def sample(alpha: PerSample, sigma: PerSample) -> Coefficients:
    """F is x0 itself."""
    return Coefficients(torch.zeros_like(alpha), torch.ones_like(alpha), torch.ones_like(alpha))


def flow(alpha: PerSample, sigma: PerSample) -> Coefficients:
    """F is the velocity eps - x0 of x_t = (1 - sigma) x0 + sigma eps: x0 = x_t - sigma F."""
    return Coefficients(torch.ones_like(alpha), -sigma, torch.ones_like(alpha))


def edm(alpha: PerSample, sigma: PerSample, sigma_data: float = 0.5) -> Coefficients:
    """EDM preconditioning, for alpha = 1 and data of standard deviation `sigma_data`."""
    total = sigma**2 + sigma_data**2
    return Coefficients(sigma_data**2 / total, sigma * sigma_data / total.sqrt(), 1 / total.sqrt())


PARAMETRIZATIONS: dict[str, Parametrization] = {
    "epsilon": epsilon,
    "v_prediction": v_prediction,
    "sample": sample,
    "flow": flow,
    "edm": edm,
}

LAWS: dict[str, tuple[Callable[[Table, Table], Table], str]] = {
    "v_prediction": (
        lambda alpha, sigma: alpha**2 + sigma**2,
        "alpha² + sigma² = 1; take another prediction or VP betas",
    ),
    "flow": (lambda alpha, sigma: alpha + sigma, "alpha = 1 - sigma; take another prediction or a flow's schedule"),
    "edm": (lambda alpha, sigma: alpha, "alpha = 1: build the schedule from sigmas"),
}
"""What is one at every timestep of the schedules that a prediction is made for, and how an error says it."""

NOISE_WEIGHTED = ("epsilon", "v_prediction", "sample")
"""Denoisers that are trained by the error of the noise, as in DMD; the others by that of F itself."""


def check_law(prediction_type: str, alpha: Table, sigma: Table) -> None:
    """Hold the tables of a schedule, [T], to what the prediction's formula stands on.

    Raises:
        ValueError: the schedule is not the prediction's kind; names both, and what to take.
    """
    if prediction_type in LAWS:
        of_one, words = LAWS[prediction_type]
        if not torch.allclose(of_one(alpha, sigma), torch.ones_like(alpha), atol=1e-6):
            raise ValueError(f"prediction `{prediction_type}` needs {words}")


def training_weight(prediction_type: str, alpha: PerSample, sigma: PerSample, coefficients: Coefficients) -> PerSample:
    """Weight of the squared error of x0 in training, float64, [B].

    alpha²/sigma² makes it the error of the noise (DMD eq. 6), 1 / c_out² that of F: Karras et al. 2022, eq. 8, for
    `edm`, and 1 / sigma² for `flow`. For `epsilon` the two are the same.
    """
    if prediction_type in NOISE_WEIGHTED:
        return (alpha / sigma) ** 2
    return 1 / coefficients.c_out**2
