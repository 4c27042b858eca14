"""The generator that is trained: its network with a learner, its steps, and the average of its weights."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from accelerate import Accelerator
from diffusers.training_utils import EMAModel
from torch import Tensor, nn

from dmd.diffusion.denoiser import Denoiser
from dmd.diffusion.generator import Generator
from dmd.distill.batches import Batch, Batches, rollout_noise
from dmd.params.distill import Distill
from dmd.training.learner import Learner
from dmd.types import Images


class Student:
    """Draws images with a gradient and without; what pulls at them is not its business."""

    def __init__(
        self, denoiser: Denoiser, settings: Distill, batches: Batches, learn: Callable[[nn.Module, float], Learner]
    ) -> None:
        """Take the copy of the teacher that becomes the generator."""
        self.backbone, self.batches = denoiser.backbone, batches
        self.learner = learn(denoiser, settings.learning_rate_generator)
        self.generator = Generator(denoiser, settings.generator_timesteps).eval()
        self.average = EMAModel(self.backbone.parameters(), decay=settings.ema_decay, foreach=True)

    def images(self, part: Batch, number: int) -> tuple[Tensor, Tensor | None]:
        """Images of the fresh noises and of the pairs', of one forward pass; the pairs' are of the first step.

        For several steps the fresh ones are of the step that update `number` is for, the steps before taken without a
        gradient. None where the part has no pairs.
        """
        x_t, t = self._call(part, number)
        size, labels = len(x_t), part.get("labels")
        if "z_ref" in part:
            ref, t_ref = self.generator.rollout(part["z_ref"], None, (), 0)
            x_t, t = torch.cat([x_t, ref]), torch.cat([t, t_ref])
            labels = None if labels is None else torch.cat([labels, part["labels_ref"]])
        images = self.learner.module(x_t, t, labels)
        return images, images[size:] if "z_ref" in part else None

    @torch.no_grad()
    def draw(self, parts: Sequence[Batch], number: int) -> Images:
        """Images of the parts' fresh noises, at the step that update `number` is for; no gradient."""
        return torch.cat([self.learner.module(*self._call(part, number), part.get("labels")) for part in parts])

    def update(self, step: int, terms: dict[str, Tensor]) -> Tensor:
        """One update with the gathered gradients, and one of the average; returns the gradient norm."""
        norm = self.learner.update(step, terms)
        self.average.step(self.backbone.parameters())
        return norm

    @contextmanager
    def averaged(self) -> Iterator[Generator]:
        """The generator with its averaged weights, for as long as the block lasts."""
        self.average.store(self.backbone.parameters())
        self.average.copy_to(self.backbone.parameters())
        yield self.generator
        self.average.restore(self.backbone.parameters())

    def finish(self, accelerator: Accelerator) -> None:
        """Let the network have the averaged weights, and be called in float32 from now on, as the saved one is."""
        self.average.copy_to(self.backbone.parameters())
        accelerator.unwrap_model(self.learner.module, keep_fp32_wrapper=False)

    def _call(self, part: Batch, number: int) -> tuple[Images, Tensor]:
        """What the network is called with for the fresh noises, and at which timesteps."""
        step = self.batches.generator_step(number)
        return self.generator.rollout(part["z"], part.get("labels"), rollout_noise(part), step)
