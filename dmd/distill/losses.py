"""The losses of distribution matching distillation, pure functions of tensors (Yin et al. 2024, arXiv 2311.18828)."""

import torch
from torch import Tensor
from torch.nn import functional

from dmd.diffusion.schedule import scale
from dmd.types import Images

WEIGHT_FLOOR = 1e-6
"""Added to the normaliser, so that a perfect sample gives a finite gradient."""


def distribution_matching_gradient(x: Images, x0_real: Images, x0_fake: Images) -> Images:
    """g = (x0_fake - x0_real) / w, w = mean over C, H, W of |x - x0_real|, one w a sample (DMD eq. 7 and 8).

    The descent direction of KL(fake || real) at the generated images `x`, given both scores' denoised versions of the
    same noisy copy of `x`. Float32; carries no gradient.
    """
    with torch.no_grad():
        x, x0_real, x0_fake = x.float(), x0_real.float(), x0_fake.float()
        weight = (x - x0_real).abs().mean(dim=(1, 2, 3)) + WEIGHT_FLOOR
        return scale(x0_fake - x0_real, 1 / weight)


def distribution_matching_loss(x: Images, gradient: Images) -> Tensor:
    """L = ½ mse(x, stop_gradient(x - g)): a scalar whose derivative by `x` is g / numel."""
    target = (x.float() - gradient).detach()
    return 0.5 * functional.mse_loss(x.float(), target)
