"""What draws the generator's distribution to the teacher's: a method gives its loss and the gradient at images.

A new method is a function like these and a line in `METHODS`; a recipe names it.
"""

import math
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
        level, third = (
            (self.schedule.sigma(self.t) / self.schedule.alpha(self.t)).log(),
            math.log(high / low) / NOISE_BINS,
        )
        edges = (math.log(low) + edge * third for edge in range(1, NOISE_BINS))
        return torch.stack([level > edge for edge in edges]).sum(0)


@dataclass(frozen=True)
class Scores:
    """The networks that judge: two denoisers of the same call, and a discriminator where there is one."""

    real: Callable[[Images, Timesteps, Labels | None], Images]
    fake: Callable[[Images, Timesteps, Labels | None], Images]
    logits: Logits | None
    over_all: Callable[[Tensor], Tensor] = torch.clone
    """Sums a tensor over the processes that have parts of a batch."""


def distribution_matching(scores: Scores, noised: Noised, settings: Matching) -> Term:
    """½ mean g² and g / numel, with g of DMD eq. 7, weighed by h of the divergence (1 for the reverse KL)."""
    with torch.no_grad():
        x_t = noised.x_t(noised.x)
        x0_real = scores.real(x_t, noised.t, noised.labels)
        x0_fake = scores.fake(x_t, noised.t, noised.labels)
        gradient = distribution_matching_gradient(noised.x, x0_real, x0_fake)
        if settings.divergence != "reverse_kl" and scores.logits is not None:
            logits = scores.logits(x_t, noised.t, noised.labels)
            bins = noised.bins(*settings.noise)
            weights = divergence_weights(settings.divergence, logits, bins, NOISE_BINS, scores.over_all)
            gradient = scale(gradient, weights)
        return 0.5 * gradient.square().mean(), gradient / gradient.numel()


def score_identity(scores: Scores, noised: Noised, settings: Matching) -> Term:
    """SiD: the gradient goes through the inputs of both networks.

    Each has a noisy copy of its own, so that its gradient is summed apart: those of two equal networks cancel exactly.
    """

    def loss(x: Images) -> Tensor:
        x0_real = scores.real(noised.x_t(x), noised.t, noised.labels)
        x0_fake = scores.fake(noised.x_t(x), noised.t, noised.labels)
        return score_identity_loss(x, x0_real, x0_fake, settings.sid_a)

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
