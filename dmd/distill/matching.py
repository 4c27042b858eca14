"""What draws the generator's distribution to the teacher's: a method gives its loss and the gradient at images.

A new method is a function like these and a line in `METHODS`; a recipe names it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from dmd.diffusion.schedule import NoiseSchedule, scale
from dmd.distill.losses import (
    adversarial_loss,
    distribution_matching_gradient,
    divergence_weights,
    score_identity_loss,
)
from dmd.params.matching import Matching
from dmd.types import Images, Labels, PerSample, Timesteps

NOISE_BINS = 3
"""Noise levels that are told apart: low, middle, high thirds of the matching range, by log(sigma / alpha)."""

Term = tuple[Tensor, Images]
"""A loss, detached, and its gradient at the images."""

Logits = Callable[[Images, Timesteps, Labels | None], PerSample]
"""A discriminator: log-odds that a noisy image is real."""


@dataclass(frozen=True)
class Noised:
    """Generated images, without gradient, and how they are noised."""

    x: Images
    t: Timesteps
    eps: Images
    labels: Labels | None
    schedule: NoiseSchedule

    def x_t(self, x: Images) -> Images:
        """The noisy copy of `x`."""
        return self.schedule.add_noise(x, self.eps, self.t)

    def bins(self, low: float, high: float) -> Labels:
        """Third of the range `low` … `high` of sigma / alpha that each sample lies in, by logarithm: 0, 1 or 2."""
        level = (self.schedule.sigma(self.t) / self.schedule.alpha(self.t)).log()
        edges = torch.linspace(0, 1, NOISE_BINS + 1, dtype=torch.float64)[1:-1]
        first, last = torch.tensor([low, high], dtype=torch.float64).log()
        return torch.bucketize(level, (first + edges * (last - first)).to(level.device))


@dataclass(frozen=True)
class Scores:
    """The networks that judge: two denoisers of the same call, and a discriminator where there is one."""

    real: Callable[[Images, Timesteps, Labels | None], Images]
    fake: Callable[[Images, Timesteps, Labels | None], Images]
    logits: Logits | None


def distribution_matching(scores: Scores, noised: Noised, settings: Matching) -> Term:
    """½ mean g² and g / numel, with g of DMD eq. 7, weighed by h of the divergence (1 for the reverse KL)."""
    with torch.no_grad():
        x_t = noised.x_t(noised.x)
        x0_real = scores.real(x_t, noised.t, noised.labels)
        x0_fake = scores.fake(x_t, noised.t, noised.labels)
        gradient = distribution_matching_gradient(noised.x, x0_real, x0_fake)
        if settings.divergence != "reverse_kl" and scores.logits is not None:
            logits = scores.logits(x_t, noised.t, noised.labels)
            gradient = scale(gradient, divergence_weights(settings.divergence, logits, noised.bins(*settings.noise)))
        return 0.5 * gradient.square().mean(), gradient / gradient.numel()


def score_identity(scores: Scores, noised: Noised, settings: Matching) -> Term:
    """SiD: the gradient goes through the inputs of both networks."""

    def loss(x: Images) -> Tensor:
        x_t = noised.x_t(x)
        x0_real = scores.real(x_t, noised.t, noised.labels)
        return score_identity_loss(x, x0_real, scores.fake(x_t, noised.t, noised.labels), settings.sid_a)

    return _differentiate(loss, noised.x)


def adversarial(scores: Scores, noised: Noised) -> Term:
    """The adversarial loss at the noisy images; the discriminator is left alone."""
    logits = scores.logits
    assert logits is not None
    return _differentiate(lambda x: adversarial_loss(logits(noised.x_t(x), noised.t, noised.labels)), noised.x)


def _differentiate(loss: Callable[[Images], Tensor], x: Images) -> Term:
    """The loss at `x` and its gradient there; no weight of any network gathers one."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        value = loss(x)
        (gradient,) = torch.autograd.grad(value, x)
    return value.detach(), gradient.float()


METHODS: dict[str, Callable[[Scores, Noised, Matching], Term]] = {
    "dmd": distribution_matching,
    "sid": score_identity,
}
"""By the name in `distill.matching.loss`; `none` is none of them."""
