"""Distribution matching distillation (Yin et al. 2024, arXiv 2311.18828): generator and fake score in turns."""

import copy
from collections.abc import Mapping

import torch
from accelerate import Accelerator
from diffusers.training_utils import EMAModel
from torch import Tensor, nn

from dmd.checkpoint import TrainingState
from dmd.denoiser import Denoiser, with_guidance
from dmd.generator import OneStepGenerator
from dmd.learner import Learner
from dmd.losses import denoising_loss, distribution_matching_gradient, distribution_matching_loss
from dmd.pairs import PairStore
from dmd.rng import Stream, batch_order, sample_integers, sample_noise
from dmd.sections.distill import Distill
from dmd.types import Images, Labels

Batch = Mapping[str, Tensor]


class Distiller:
    """Three copies of the teacher: the generator, the frozen real score and the trained fake score."""

    def __init__(
        self,
        teacher: Denoiser,
        pairs: PairStore,
        perceptual: nn.Module,
        settings: Distill,
        *,
        regression_weight: float,
        guidance_scale: float,
        num_classes: int | None,
        seed: int,
    ) -> None:
        """Copy `teacher` twice; all three stay in eval mode, so that mu_fake equals mu_real at the start.

        Raises:
            ValueError: a batch size is no multiple of the number of processes, or guidance has no null class.
        """
        self.accelerator = Accelerator()
        self.settings, self.num_classes, self.seed, self.pairs = settings, num_classes, seed, pairs
        self.regression_weight, self.schedule = regression_weight, teacher.schedule
        self._check_batches()
        student, fake = copy.deepcopy(teacher).eval(), copy.deepcopy(teacher).eval()
        self.generator_backbone: nn.Module = student.backbone
        generator = OneStepGenerator(student, settings.generator_timestep)
        self.learns_generator = self._learner(generator, settings.learning_rate_generator, 1)
        self.learns_fake = self._learner(fake, settings.learning_rate_fake, settings.num_fake_updates)
        self.generator, self.mu_fake = self.learns_generator.module, self.learns_fake.module
        # Frozen by no_grad, not by requires_grad, which picks other CPU kernels: mu_real starts as mu_fake to the bit.
        self.mu_real = with_guidance(teacher, guidance_scale, num_classes).to(self.accelerator.device).eval()
        self.perceptual = perceptual.to(self.accelerator.device)
        self.average = EMAModel(student.backbone.parameters(), decay=settings.ema_decay, foreach=True)
        learners = {"generator": self.learns_generator, "fake": self.learns_fake}
        self.state = TrainingState(
            {"generator": student.backbone, "fake": fake.backbone},
            {name: learner.optimizer for name, learner in learners.items()},
            {name: learner.lr_scheduler for name, learner in learners.items()},
            {"generator": self.average},
        )

    def step(self, step: int) -> dict[str, Tensor]:
        """One iteration: a generator update, then `num_fake_updates` of the fake score, the first on the same images.

        Returns the losses and gradient norms as tensors.
        """
        batch = self.batch(step)
        record, x = self.update_generator(batch, step)
        for update in range(self.settings.num_fake_updates):
            if update > 0:
                fresh = self.fresh_noise(step, update)
                with torch.no_grad():
                    x = self.generator(fresh["z"], fresh.get("labels"))
                batch = {**fresh, "x": x}
            record |= self.update_fake(x, batch.get("labels"), step, update)
        return record

    def update_generator(self, batch: Batch, step: int) -> tuple[dict[str, Tensor], Images]:
        """Step on `L_dm + alpha L_reg`; returns its terms and the images of the fresh noises, detached.

        One forward pass draws both halves: fresh noises for L_dm (DMD eq. 7), pairs' noises for L_reg (DMD eq. 9).
        """
        size = len(batch["z"])
        z = torch.cat([batch["z"], batch["z_ref"]])
        labels = torch.cat([batch["labels"], batch["labels_ref"]]) if "labels" in batch else None
        images = self.generator(z, labels)
        x = images[:size]
        gradient = self.matching_gradient(x.detach(), batch)
        matching = distribution_matching_loss(x, gradient)
        regression = self.perceptual(images[size:].float(), batch["x_ref"]).mean()
        loss = matching + self.regression_weight * regression
        terms = {"distribution_matching": matching.detach(), "regression": regression.detach()}
        norm = self.learns_generator.descend(loss, step, terms)
        self.average.step(self.generator_backbone.parameters())
        return {**terms, "grad_norm_generator": norm}, x.detach()

    @torch.no_grad()
    def matching_gradient(self, x: Images, batch: Batch) -> Images:
        """The distribution-matching gradient at images `x`, at the batch's timesteps `t` and noise `eps`."""
        x_t = self.schedule.add_noise(x, batch["eps"], batch["t"])
        with self.accelerator.autocast():  # as the prepared mu_fake does: both in one precision
            x0_real = self.mu_real(x_t, batch["t"], batch.get("labels"))
        x0_fake = self.mu_fake(x_t, batch["t"], batch.get("labels"))
        return distribution_matching_gradient(x, x0_real, x0_fake)

    def update_fake(self, x: Images, labels: Labels | None, step: int, update: int) -> dict[str, Tensor]:
        """Step on the fake score's denoising loss at generated images, t uniform over all of [0, T) (DMD eq. 6)."""
        indices = self._indices(step * self.settings.num_fake_updates + update, self.settings.batch_size)
        t = self._integers(indices, 0, self.schedule.num_timesteps, Stream.FAKE_TIME)
        eps = self._noise(indices, x.shape[1:], Stream.FAKE_NOISE)
        x0_fake = self.mu_fake(self.schedule.add_noise(x, eps, t), t, labels)
        loss = denoising_loss(x0_fake, x, self.schedule.snr(t))
        terms = {"fake": loss.detach()}
        norm = self.learns_fake.descend(loss, step, terms)
        return {**terms, "grad_norm_fake": norm}

    def batch(self, step: int) -> Batch:
        """This process's part of iteration `step`: fresh noises with labels, timesteps and noise, and pairs."""
        settings, total = self.settings, self.schedule.num_timesteps
        indices = self._indices(step, settings.batch_size)
        fresh = self.fresh_noise(step, 0)
        ref = self._indices(step, settings.pairs_batch_size)
        pairs = self.pairs.read(batch_order(self.seed, ref.start, len(ref), len(self.pairs)))
        low, high = round(settings.min_timestep * total), round(settings.max_timestep * total)
        return {
            **fresh,
            "t": self._integers(indices, low, min(high + 1, total), Stream.MATCHING_TIME),
            "eps": self._noise(indices, fresh["z"].shape[1:], Stream.MATCHING_NOISE),
            "z_ref": pairs["z"].to(self.accelerator.device),
            "x_ref": pairs["x0"].to(self.accelerator.device),
            "labels_ref": pairs["label"].to(self.accelerator.device),
        }

    def fresh_noise(self, step: int, update: int) -> dict[str, Tensor]:
        """Noises `z` ~ N(0, I) and uniform `labels` (conditional models only) of one update of one iteration."""
        shape = self.pairs.image_shape
        indices = self._indices(step * self.settings.num_fake_updates + update, self.settings.batch_size)
        fresh = {"z": self._noise(indices, shape, Stream.GENERATOR)}
        if self.num_classes is not None:
            fresh["labels"] = self._integers(indices, 0, self.num_classes, Stream.LABELS)
        return fresh

    def _learner(self, module: nn.Module, learning_rate: float, updates_per_step: int) -> Learner:
        settings = self.settings
        learner = Learner(
            self.accelerator, module, learning_rate, settings.betas, settings.weight_decay, settings.max_grad_norm
        )
        steps = settings.steps * updates_per_step
        return learner.schedule(settings.learning_rate_schedule, settings.warmup_steps, steps)

    def _check_batches(self) -> None:
        processes = self.accelerator.num_processes
        for name in ("batch_size", "pairs_batch_size"):
            size = getattr(self.settings, name)
            if size % processes:
                raise ValueError(f"distill.{name} {size} is not a multiple of {processes} processes")

    def _indices(self, number: int, size: int) -> range:
        """This process's indices in global batch `number` of `size` samples."""
        part = size // self.accelerator.num_processes
        first = number * size + self.accelerator.process_index * part
        return range(first, first + part)

    def _noise(self, indices: range, shape: tuple[int, ...], stream: Stream) -> Tensor:
        return sample_noise(self.seed, indices, shape, stream).to(self.accelerator.device)

    def _integers(self, indices: range, low: int, high: int, stream: Stream) -> Tensor:
        return sample_integers(self.seed, indices, low, high, stream).to(self.accelerator.device)
