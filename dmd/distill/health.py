"""How a distillation fares: gradients at the images, their variety beside the pairs', whether the critics keep up."""

from collections.abc import Mapping, Sequence
from statistics import fmean

import torch
from accelerate import Accelerator
from torch import Tensor

from dmd.types import Images, Labels

MEASURES = (
    "grad_norm_distribution_matching",
    "grad_norm_regression",
    "mean_difference",
    "deviation_difference",
    "variety",
)
"""What is measured on the images of one generator update, always; `Health` says what each is."""

CLIPPED = {"clipped_generator": "grad_norm_generator", "clipped_fake": "grad_norm_fake"}
"""Shares of clipped updates, and the gradient norms that say so."""

LEVELS = ("low", "middle", "high")
"""Thirds of the matching range of noise, by log(sigma / alpha)."""

Row = Mapping[str, int | float]
"""One row of a table: a whole `step` and numbers."""


class Health:
    """Measures every `every`-th generator update, from step 0, without waiting for the device.

    Of the images x [B, C, H, W] of fresh noises and those of the pairs' noises, with L the loss that is descended:

        grad_norm_distribution_matching   |∂L_m/∂x|, Euclidean, over the fresh images, of the matching loss
        grad_norm_adversarial             the same of weight · adversarial loss, where there is one
        grad_norm_regression              the same of alpha · L_reg, over the pairs' images
        matching_{low,middle,high}_noise  mean over the images noised so of |∂L_m/∂x_i| · B; missing if none was
        mean_difference                   mean of x minus that of the pairs' images, over all pixels
        deviation_difference              standard deviation of x minus that of the pairs' images, over all pixels
        variety                           standard deviation over B, averaged over pixels, relative to that of the pairs
        fake_lag                          the fake score's loss on fresh images over a teacher's on its own images
        discriminator_accuracy            share of noisy images, real and generated alike, that it tells right
        clipped_generator, clipped_fake   shares of the updates whose gradient norm was clipped

    The last three kinds are means over the updates since the row before.
    """

    def __init__(self, every: int, max_grad_norm: float, pairs: Images, fake_baseline: float | None = None) -> None:
        """Compare with these images of the pairs; gradient norms are clipped at `max_grad_norm`.

        `fake_baseline` is the denoising loss of the teacher on its own images; none where there is no fake score.
        """
        self.every, self.max_grad_norm, self.fake_baseline = every, max_grad_norm, fake_baseline
        self.pairs = _statistics(*_sums(pairs)).tolist()
        self._pending: dict[int, dict[str, Tensor]] = {}

    def watches(self, step: int) -> bool:
        """Whether update `step` is measured."""
        return step % self.every == 0

    def watch(self, step: int, images: Images, fresh: int) -> None:
        """Note update `step`'s images, the first `fresh` of fresh noises, and the others' gradient in backward.

        A batch may come in parts, whose losses add up to the batch's.
        """
        if not self.watches(step) or not images.requires_grad:
            return
        for name, values in zip(("count", "total", "squares"), _sums(images.detach()[:fresh]), strict=True):
            self._note(step, name, values)
        images.register_hook(lambda gradient: self._note(step, "regression", _squares(gradient[fresh:])))

    def note_gradients(
        self, step: int, gradients: Mapping[str, Images], norms: Tensor | None = None, levels: Labels | None = None
    ) -> None:
        """Note the weighted gradients at the fresh images by loss, and each image's own norm with its noise level."""
        if not self.watches(step):
            return
        for name, gradient in gradients.items():
            self._note(step, name, _squares(gradient))
        if norms is not None and levels is not None:
            both = torch.stack([norms, torch.ones_like(norms)]).double()
            self._note(step, "levels", both.new_zeros(2, len(LEVELS)).index_add(1, levels, both))

    def collect(self, losses: Sequence[Row], accelerator: Accelerator) -> list[dict[str, int | float]]:
        """The rows measured since the last call, over all processes, brought to the host together.

        `losses` are the records of all updates so far, each with its `step` and gradient norms.
        """
        pending, self._pending = self._pending, {}
        rows, position = [], {int(row["step"]): i for i, row in enumerate(losses)}
        for step, noted in pending.items():
            found = {name: accelerator.reduce(values, "sum") for name, values in noted.items()}
            measured = self._measured(found, accelerator.num_processes)
            rows.append({"step": step, **measured, **self._means(losses[: position[step] + 1])})
        return rows

    def _note(self, step: int, name: str, values: Tensor) -> None:
        noted = self._pending.setdefault(step, {})
        noted[name] = noted[name] + values if name in noted else values

    def _measured(self, found: Mapping[str, Tensor], processes: int) -> dict[str, float]:
        """What one update's images and gradients say."""
        values: dict[str, float] = {}
        for name in ("distribution_matching", "regression", "adversarial"):
            if name in found or name != "adversarial":
                norm = found[name].sqrt() / processes if name in found else torch.zeros(())
                values[f"grad_norm_{name}"] = norm.item()
        seen = _statistics(found["count"], found["total"], found["squares"]).tolist()
        average, deviation, variety = self.pairs
        values |= {"mean_difference": seen[0] - average, "deviation_difference": seen[1] - deviation}
        values["variety"] = seen[2] / max(variety, 1e-12)
        if "levels" in found:
            totals, counts = found["levels"].tolist()
            for name, total, count in zip(LEVELS, totals, counts, strict=True):
                if count:
                    values[f"matching_{name}_noise"] = total / count
        return values

    def _means(self, losses: Sequence[Row]) -> dict[str, float]:
        """What the updates since the row before say."""
        since = losses[-self.every :]
        values = {
            name: sum(row[norm] > self.max_grad_norm for row in since) / len(since) for name, norm in CLIPPED.items()
        }
        if self.fake_baseline is not None:
            values["fake_lag"] = _mean(since, "fake") / max(self.fake_baseline, 1e-12)
        if "discriminator_accuracy" in since[-1]:
            values["discriminator_accuracy"] = _mean(since, "discriminator_accuracy")
        return values


def _mean(rows: Sequence[Row], name: str) -> float:
    return fmean(row[name] for row in rows)


def _sums(images: Images) -> tuple[Tensor, Tensor, Tensor]:
    """Number of images, and their sum and sum of squares, float64 [C, H, W]."""
    values = images.double()
    return torch.full((), len(values), device=images.device), values.sum(0), values.square().sum(0)


def _statistics(count: Tensor, total: Tensor, squares: Tensor) -> Tensor:
    """Mean and standard deviation over all pixels, and the deviation over the images averaged over pixels, [3]."""
    mean, square = total / count, squares / count
    deviation = (square.mean() - mean.mean().square()).clamp(min=0).sqrt()
    return torch.stack([mean.mean(), deviation, (square - mean.square()).clamp(min=0).sqrt().mean()])


def _squares(gradient: Images) -> Tensor:
    """Sum of squares, float64."""
    return gradient.double().square().sum()
