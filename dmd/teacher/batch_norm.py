"""BatchNorm's statistics of averaged weights: those of the steps that the average was taken over are of other weights.

Izmailov et al. 2018, arXiv 1803.05407, algorithm 1: one pass over data with the averaged weights.
"""

from collections.abc import Iterable, Mapping

from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from dmd.diffusion.denoiser import Denoiser

BATCHES = 100
"""Batches whose statistics are averaged."""


def reestimate(denoiser: Denoiser, batches: Iterable[Mapping[str, Tensor]]) -> None:
    """Set every running mean and variance to the mean of the batches' own; a network without BatchNorm is left alone.

    Each batch holds `x_t`, `t` and, where there are classes, `labels`; none is drawn where nothing is estimated.
    """
    update_bn(batches, _OfBatch(denoiser))


class _OfBatch(nn.Module):
    """The denoiser as a function of one argument, as torch's `update_bn` calls it."""

    def __init__(self, denoiser: Denoiser) -> None:
        super().__init__()
        self.denoiser = denoiser

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """x0 at the batch's `x_t`, `t` and `labels`."""
        return self.denoiser(batch["x_t"], batch["t"], batch.get("labels"))
