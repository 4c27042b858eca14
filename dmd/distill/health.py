"""How a distillation fares: gradients at the images, their mean, deviation and variety beside the pairs', clipping."""

from collections.abc import Mapping, Sequence

import torch
from accelerate import Accelerator
from torch import Tensor

from dmd.types import Images

MEASURES = (
    "grad_norm_distribution_matching",
    "grad_norm_regression",
    "mean_difference",
    "deviation_difference",
    "variety",
)
"""What is measured on the images of one generator update; `Health` says what each is."""

CLIPPED = {"clipped_generator": "grad_norm_generator", "clipped_fake": "grad_norm_fake"}
"""Shares of clipped updates, and the gradient norms that say so."""


Row = Mapping[str, int | float]
"""One row of a table: a whole `step` and numbers."""


class Health:
    """Measures every `every`-th generator update, from step 0, without waiting for the device.

    Of the images x [B, C, H, W] of fresh noises and those of the pairs' noises, with L the loss that is descended:

        grad_norm_distribution_matching   |∂L/∂x|, Euclidean, over the fresh images: L_dm alone reaches them
        grad_norm_regression              the same over the pairs' images: alpha L_reg alone reaches them
        mean_difference                   mean of x minus that of the pairs' images, over all pixels
        deviation_difference              standard deviation of x minus that of the pairs' images, over all pixels
        variety                           standard deviation over B, averaged over pixels, relative to that of the pairs
        clipped_generator, clipped_fake   shares of the updates since the row before whose gradient norm was clipped
    """

    def __init__(self, every: int, max_grad_norm: float, pairs: Images) -> None:
        """Compare with these images of the pairs; gradient norms are clipped at `max_grad_norm`."""
        self.every, self.max_grad_norm = every, max_grad_norm
        self.pairs = _statistics(*_sums(pairs)).tolist()
        self._pending: dict[int, list[Tensor]] = {}

    def watch(self, step: int, images: Images, fresh: int) -> None:
        """Note update `step`'s images, the first `fresh` of fresh noises, and their gradient when backward comes by.

        A batch may come in parts, whose losses add up to the batch's.
        """
        if step % self.every or not images.requires_grad:
            return

        def note(number: int, values: Tensor) -> None:
            noted[number] = noted[number] + values

        noted = self._pending.setdefault(step, [torch.zeros((), device=images.device)] * 4)
        for number, values in enumerate(_sums(images.detach()[:fresh])):
            note(number, values)
        images.register_hook(lambda gradient: note(3, _squares(gradient, fresh)))

    def collect(self, losses: Sequence[Row], accelerator: Accelerator) -> list[dict[str, int | float]]:
        """The rows measured since the last call, over all processes, brought to the host together.

        `losses` are the records of all updates so far, each with its `step` and gradient norms.
        """
        pending, self._pending = self._pending, {}
        rows, position = [], {int(row["step"]): i for i, row in enumerate(losses)}
        measured = []
        for noted in pending.values():
            count, total, squares, gradients = (accelerator.reduce(values, "sum") for values in noted)
            norms = gradients.sqrt() / accelerator.num_processes
            measured.append(torch.cat([norms, _statistics(count, total, squares)]))
        for step, values in zip(pending, torch.stack(measured).tolist() if measured else [], strict=True):
            rows.append(self._row(step, values, losses[: position[step] + 1]))
        return rows

    def _row(self, step: int, values: Sequence[float], losses: Sequence[Row]) -> dict[str, int | float]:
        average, deviation, variety = self.pairs
        seen = (*values[:2], values[2] - average, values[3] - deviation, values[4] / max(variety, 1e-12))
        since = losses[-self.every :]
        shares = {
            name: sum(row[norm] > self.max_grad_norm for row in since) / len(since) for name, norm in CLIPPED.items()
        }
        return {"step": step, **dict(zip(MEASURES, seen, strict=True)), **shares}


def _sums(images: Images) -> tuple[Tensor, Tensor, Tensor]:
    """Number of images, and their sum and sum of squares, float64 [C, H, W]."""
    values = images.double()
    return torch.full((), len(values), device=images.device), values.sum(0), values.square().sum(0)


def _statistics(count: Tensor, total: Tensor, squares: Tensor) -> Tensor:
    """Mean and standard deviation over all pixels, and the deviation over the images averaged over pixels, [3]."""
    mean, square = total / count, squares / count
    deviation = (square.mean() - mean.mean().square()).clamp(min=0).sqrt()
    return torch.stack([mean.mean(), deviation, (square - mean.square()).clamp(min=0).sqrt().mean()])


def _squares(gradient: Images, fresh: int) -> Tensor:
    """Sums of squares of the gradients at the fresh images and at the others, float64 [2]."""
    return torch.stack([part.double().square().sum() for part in (gradient[:fresh], gradient[fresh:])])
