"""Training a teacher: denoising score matching on real images (Ho et al. 2020, eq. 14), with label dropout and EMA."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from diffusers import ModelMixin
from diffusers.training_utils import EMAModel
from torch import Tensor

from dmd.datasets.registry import to_images
from dmd.diffusion.calls import class_embeds
from dmd.diffusion.denoiser import Denoiser, denoising_loss
from dmd.diffusion.rng import Stream, batch_order, sample_integers, sample_noise, sample_uniform
from dmd.params.teacher import Training
from dmd.teacher import batch_norm
from dmd.teacher.steps import share_of_batch, train_steps
from dmd.training.accelerator import build_accelerator
from dmd.training.checkpoint import TrainingState
from dmd.training.learner import Learner
from dmd.training.prefetch import ReadAhead, ReadAheadInProcesses
from dmd.types import Labels, Latents, Pixels


class TeacherTrainer:
    """Trains a denoiser on images; resumable, and the same whatever the number of processes."""

    def __init__(
        self, denoiser: Denoiser, images: Pixels | Latents, labels: Labels | None, settings: Training, seed: int
    ) -> None:
        """Take the images of one split, or their latents, and labels where the network has classes.

        Its last class is the null class.

        Raises:
            ValueError: the batch size does not fit the processes, or the launcher is at another precision.
        """
        self.accelerator = build_accelerator(settings.mixed_precision, "teacher.training.mixed_precision")
        self._share = share_of_batch(settings.batch_size, self.accelerator, "teacher.training")
        self.images, self.labels, self.settings, self.seed = images, labels, settings, seed
        self.schedule, self._weight = denoiser.schedule, denoiser.training_weight
        self.backbone: ModelMixin = denoiser.backbone
        if self.accelerator.device.type == "cuda":  # whose convolutions in bfloat16 otherwise turn their images round
            self.backbone.to(memory_format=torch.channels_last)
        self.learner = Learner(
            self.accelerator,
            denoiser.train(),
            settings.learning_rate,
            settings.betas,
            settings.weight_decay,
            settings.max_grad_norm,
        ).schedule("cosine", settings.warmup_steps, settings.steps)
        self.denoiser = self.learner.module
        make, device, workers = self._batch, self.accelerator.device, settings.workers
        self._ahead = ReadAheadInProcesses(make, device, workers) if workers else ReadAhead(make, device)
        self.average = EMAModel(self.backbone.parameters(), decay=settings.ema_decay, foreach=True)
        self.state = TrainingState(
            {"backbone": self.backbone},
            {"optimizer": self.learner.optimizer},
            {"lr_scheduler": self.learner.lr_scheduler},
            {"backbone": self.average},
        )

    def run(self, work: Path) -> list[float]:
        """Train to the last step from the newest checkpoint in `work`; returns the loss of every step.

        The network then holds the averaged weights, and BatchNorm's statistics of these.

        Raises:
            FloatingPointError: a loss or gradient norm is not finite; names the first such step.
        """
        steps, every = self.settings.steps, self.settings.checkpoint_steps
        losses = train_steps(self.update, self.learner, self.state, work, steps, every, "teacher")
        self.average.copy_to(self.backbone.parameters())
        batch_norm.reestimate(self.accelerator.unwrap_model(self.denoiser), self._later_batches())
        self.backbone.to(memory_format=torch.contiguous_format)
        return losses

    def update(self, step: int) -> Tensor:
        """One optimiser update on batch `step`; returns this process's loss."""
        batch = self._noised(self._ahead(step))
        weight = self._weight(batch["t"])
        if self.settings.max_snr is not None:
            weight = weight.clamp(max=self.settings.max_snr)
        loss = denoising_loss(self.denoiser(batch["x_t"], batch["t"], batch.get("labels")), batch["x0"], weight)
        self.learner.descend(loss, step, {"loss": loss})
        self.average.step(self.backbone.parameters())
        return loss.detach()

    def _noised(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A batch with its `x_t`."""
        return {**batch, "x_t": self.schedule.add_noise(batch["x0"], batch["eps"], batch["t"])}

    def _later_batches(self) -> Iterator[dict[str, Tensor]]:
        """Whole batches, in every process the same, of the steps that would come next."""
        size = self.settings.batch_size
        for step in range(self.settings.steps, self.settings.steps + batch_norm.BATCHES):
            drawn = self._draw(step * size, size)
            yield self._noised({name: tensor.to(self.accelerator.device) for name, tensor in drawn.items()})

    def _batch(self, step: int) -> Mapping[str, Tensor]:
        """This process's part of batch `step`, on the host."""
        first = step * self.settings.batch_size + self.accelerator.process_index * self._share
        return self._draw(first, self._share)

    def _draw(self, first: int, size: int) -> Mapping[str, Tensor]:
        """Images, noise, timesteps and labels of `size` samples from number `first` on, each a function of the seed."""
        indices = range(first, first + size)
        rows = batch_order(self.seed, first, size, len(self.images))
        x0 = self.images[rows]
        if x0.dtype == torch.uint8:
            x0 = to_images(x0)
        if self.settings.horizontal_flip:
            flipped = sample_uniform(self.seed, indices, Stream.TEACHER_FLIP) < 0.5
            x0 = torch.where(flipped[:, None, None, None], x0.flip(-1), x0)
        batch = {
            "x0": x0,
            "eps": sample_noise(self.seed, indices, x0.shape[1:], Stream.TEACHER_NOISE),
            "t": sample_integers(self.seed, indices, 0, self.schedule.num_timesteps, Stream.TEACHER_TIME),
        }
        if self.labels is not None:
            dropped = sample_uniform(self.seed, indices, Stream.TEACHER_DROPOUT) < self.settings.label_dropout
            null_label = (class_embeds(self.backbone.config) or 0) - 1
            batch["labels"] = self.labels[rows].masked_fill(dropped, null_label)
        return batch
