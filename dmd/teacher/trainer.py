"""Training a teacher: denoising score matching on real images (Ho et al. 2020, eq. 14), with label dropout and EMA."""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from accelerate.utils import tqdm
from diffusers import ModelMixin
from diffusers.training_utils import EMAModel
from torch import Tensor

from dmd.datasets.registry import to_images
from dmd.diffusion.denoiser import Denoiser, denoising_loss
from dmd.diffusion.rng import Stream, batch_order, sample_integers, sample_noise, sample_uniform
from dmd.params.teacher import Training
from dmd.teacher import batch_norm
from dmd.training.accelerator import build_accelerator
from dmd.training.checkpoint import TrainingState
from dmd.training.learner import SETTLE_STEPS, Learner, settle
from dmd.training.prefetch import ReadAhead, ReadAheadInProcesses
from dmd.types import Labels, Pixels

logger = logging.getLogger(__name__)


class TeacherTrainer:
    """Trains a denoiser on images; resumable, and the same whatever the number of processes."""

    def __init__(
        self, denoiser: Denoiser, pixels: Pixels, labels: Labels | None, settings: Training, seed: int
    ) -> None:
        """Take the images of one split, with labels where the network has classes; its last class is the null class.

        Raises:
            ValueError: the batch size does not fit the processes, or the launcher is at another precision.
        """
        self.accelerator = build_accelerator(settings.mixed_precision, "teacher.training.mixed_precision")
        if settings.batch_size % self.accelerator.num_processes:
            raise ValueError(
                f"teacher.training.batch_size {settings.batch_size} is not a multiple of "
                f"{self.accelerator.num_processes} processes"
            )
        self.pixels, self.labels, self.settings, self.seed = pixels, labels, settings, seed
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
        settings = self.settings
        start, losses = self.state.resume(work)
        losses = losses or []
        logger.info("training from step %d of %d", start, settings.steps)
        pending: list[Tensor] = []
        for step in tqdm(range(start, settings.steps), "teacher", total=settings.steps, initial=start):
            pending.append(self.update(step))
            ends = (step + 1) % settings.checkpoint_steps == 0 or step + 1 == settings.steps
            if ends or (step + 1) % SETTLE_STEPS == 0:
                settle(self.learner)
            if ends:
                losses.extend(self.accelerator.reduce(torch.stack(pending), "mean").tolist())
                logger.info("step %d: loss %.4f", step + 1, sum(losses[-len(pending) :]) / len(pending))
                pending.clear()
                if self.accelerator.is_main_process:
                    self.state.save(work, step + 1, losses)
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
        size = self.settings.batch_size // self.accelerator.num_processes
        return self._draw(step * self.settings.batch_size + self.accelerator.process_index * size, size)

    def _draw(self, first: int, size: int) -> Mapping[str, Tensor]:
        """Images, noise, timesteps and labels of `size` samples from number `first` on, each a function of the seed."""
        indices = range(first, first + size)
        rows = batch_order(self.seed, first, size, len(self.pixels))
        x0 = to_images(self.pixels[rows])
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
            null_label = self.backbone.config.num_class_embeds - 1
            batch["labels"] = self.labels[rows].masked_fill(dropped, null_label)
        return batch
