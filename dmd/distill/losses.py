r"""The losses of distillation, pure functions of tensors.

Distribution matching (Yin et al. 2024, arXiv 2311.18828), score identity (Zhou et al. 2024, arXiv 2404.04057),
f-divergences (Xu et al. 2025, arXiv 2502.15681) and the adversarial terms of DMD2 (Yin et al. 2024, arXiv 2405.14867).
Noisy copies are `x_t = alpha_t x + sigma_t eps`; `x0_real`, `x0_fake` are the two scores' denoised versions of them.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from dmd.diffusion.schedule import scale
from dmd.types import Images, Labels, PerSample

WEIGHT_FLOOR = 1e-6
"""Added to the normaliser, so that a perfect sample gives a finite gradient."""

SID_FLOOR = 1e-5
"""The least normaliser of the score identity loss, as published."""

MAX_LOGIT = 5.0
"""Density ratios are cut to exp(±MAX_LOGIT) before they weigh anything."""

DIVERGENCES: dict[str, Callable[[Tensor], Tensor]] = {
    "reverse_kl": torch.ones_like,
    "forward_kl": lambda ratio: ratio,
    "jensen_shannon": lambda ratio: ratio / (1 + ratio),
    "softened_reverse_kl": lambda ratio: 1 / (1 + ratio),
    "squared_hellinger": torch.sqrt,
}
"""h(r) = f''(r) r² of each f-divergence, up to a factor, at the density ratio r = p_real / p_fake (2502.15681)."""


def distribution_matching_gradient(x: Images, x0_real: Images, x0_fake: Images) -> Images:
    """g = (x0_fake - x0_real) / w, w = mean over C, H, W of |x - x0_real|, one w a sample (DMD eq. 7 and 8).

    The descent direction of KL(fake || real) at the generated images `x`, given both scores' denoised versions of the
    same noisy copy of `x`. Float32; carries no gradient. The paper's two equations leave a factor alpha_t, which is
    left out here: high noise weighs as much as low.
    """
    with torch.no_grad():
        x, x0_real, x0_fake = x.float(), x0_real.float(), x0_fake.float()
        weight = (x - x0_real).abs().mean(dim=(1, 2, 3)) + WEIGHT_FLOOR
        return scale(x0_fake - x0_real, 1 / weight)


def score_identity_loss(x: Images, x0_real: Images, x0_fake: Images, a: float) -> Tensor:
    """L = mean of d · ((x0_real - x) - a d) / max(w, SID_FLOOR), d = x0_real - x0_fake (SiD eq. 23).

    w is as in `distribution_matching_gradient` and carries no gradient; all else does, through both networks.
    """
    x, x0_real, x0_fake = x.float(), x0_real.float(), x0_fake.float()
    weight = (x - x0_real).detach().abs().mean(dim=(1, 2, 3)).clamp(min=SID_FLOOR)
    difference = x0_real - x0_fake
    return scale(difference * (x0_real - x - a * difference), 1 / weight).mean()


def divergence_weights(
    name: str, logits: PerSample, bins: Labels, num_bins: int, over_all: Callable[[Tensor], Tensor] = torch.clone
) -> PerSample:
    """Weights h(exp(logit)) of the samples' gradients, with mean one in each bin of noise levels, float32 [B].

    A bin's only sample weighs one: batches that hold several of each bin tell them apart.

    Args:
        name: one of `DIVERGENCES`.
        logits: of a discriminator at the noisy images: its estimate of log(p_real / p_fake).
        bins: the noise level of each sample, from 0.
        num_bins: how many there are.
        over_all: sums a tensor over the processes that have parts of the batch; none have, unless it is given.
    """
    with torch.no_grad():
        ratio = logits.float().clamp(-MAX_LOGIT, MAX_LOGIT).exp()
        weight = DIVERGENCES[name](ratio)
        both = torch.stack([weight, torch.ones_like(weight)])
        total, number = over_all(both.new_zeros(2, num_bins).index_add(1, bins, both))
        return weight * (number / total.clamp(min=1e-12))[bins]


def adversarial_loss(fake_logits: PerSample) -> Tensor:
    """The generator's, not saturating: mean softplus(-logit) at noisy generated images (DMD2 section 4.3)."""
    return functional.softplus(-fake_logits.float()).mean()


def discriminator_loss(real_logits: PerSample, fake_logits: PerSample) -> Tensor:
    """The discriminator's: mean softplus(-logit) at noisy real images + mean softplus(logit) at noisy generated ones.

    Its least value is where the logit is log(p_real / p_fake) (Goodfellow et al. 2014, prop. 1).
    """
    return functional.softplus(-real_logits.float()).mean() + functional.softplus(fake_logits.float()).mean()


def surrogate_loss(x: Images, gradient: Images) -> Tensor:
    """A scalar whose derivative by `x` is `gradient`: the sum of x · gradient."""
    return (x.float() * gradient.detach()).sum()
