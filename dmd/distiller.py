"""Distribution matching distillation (Yin et al. 2024, arXiv 2311.18828): generator and fake score in turns."""

import copy
from collections.abc import Mapping

import torch
from accelerate import Accelerator
from diffusers.optimization import get_scheduler
from diffusers.training_utils import EMAModel
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LRScheduler

from dmd.checkpoint import TrainingState
from dmd.denoiser import Denoiser, with_guidance
from dmd.generator import OneStepGenerator
from dmd.losses import denoising_loss, distribution_matching_gradient, distribution_matching_loss
from dmd.pairs import PairStore
from dmd.rng import Stream, batch_order, sample_integers, sample_noise
from dmd.sections import Distill
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
        self.regression_weight = regression_weight
        self.schedule = teacher.schedule
        self._check_batches()
        student, fake = copy.deepcopy(teacher).eval(), copy.deepcopy(teacher).eval()
        self.generator_backbone: nn.Module = student.backbone
        generator = OneStepGenerator(student, settings.generator_timestep)
        optimizer_generator = self._optimizer(generator, settings.learning_rate_generator)
        optimizer_fake = self._optimizer(fake, settings.learning_rate_fake)
        lr_generator = self._lr_scheduler(optimizer_generator, updates_per_step=1)
        lr_fake = self._lr_scheduler(optimizer_fake, updates_per_step=settings.num_fake_updates)
        self.generator, self.optimizer_generator = self.accelerator.prepare(generator, optimizer_generator)
        self.mu_fake, self.optimizer_fake = self.accelerator.prepare(fake, optimizer_fake)
        self.lr_generator, self.lr_fake = lr_generator, lr_fake
        real = with_guidance(teacher, guidance_scale, num_classes)
        # Frozen by no_grad where it is called, not by requires_grad: that flag picks other CPU kernels, and mu_real
        # must equal mu_fake to the last bit at the start.
        self.mu_real = real.to(self.accelerator.device).eval()
        self.perceptual = perceptual.to(self.accelerator.device)
        self.average = EMAModel(student.backbone.parameters(), decay=settings.ema_decay, foreach=True)
        self.state = TrainingState(
            {"generator": student.backbone, "fake": fake.backbone},
            {"generator": self.optimizer_generator, "fake": self.optimizer_fake},
            {"generator": lr_generator, "fake": lr_fake},
            {"generator": self.average},
        )

    def step(self, step: int) -> dict[str, Tensor]:
        """One iteration: a generator update, then `num_fake_updates` of the fake score, the first on the same images.

        Returns the losses and gradient norms as tensors that nothing has waited for.
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
        norm = self._descend(loss, self.generator, self.optimizer_generator, self.lr_generator, terms, step)
        self.average.step(self.generator_backbone.parameters())
        return {**terms, "grad_norm_generator": norm}, x.detach()

    @torch.no_grad()
    def matching_gradient(self, x: Images, batch: Batch) -> Images:
        """The distribution-matching gradient at images `x`, at the batch's timesteps `t` and noise `eps`."""
        x_t = self.schedule.add_noise(x, batch["eps"], batch["t"])
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
        norm = self._descend(loss, self.mu_fake, self.optimizer_fake, self.lr_fake, terms, step)
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

    def _descend(
        self, loss: Tensor, module: nn.Module, optimizer: Optimizer, lr_scheduler: LRScheduler, terms: Batch, step: int
    ) -> Tensor:
        """Back-propagate, clip, and step unless something is not finite; returns the norm before clipping."""
        self.accelerator.backward(loss)
        norm = self.accelerator.clip_grad_norm_(module.parameters(), self.settings.max_grad_norm)
        if not torch.isfinite(loss.detach() + norm):
            found = ", ".join(f"{name} {value:g}" for name, value in {**terms, "gradient norm": norm}.items())
            raise FloatingPointError(f"distillation: not finite at step {step}: {found}; lower the learning rates")
        optimizer.step()
        lr_scheduler.step()
        optimizer.zero_grad()
        return norm

    def _optimizer(self, module: nn.Module, learning_rate: float) -> Optimizer:
        settings = self.settings
        return AdamW(module.parameters(), learning_rate, settings.betas, weight_decay=settings.weight_decay)

    def _lr_scheduler(self, optimizer: Optimizer, updates_per_step: int) -> LRScheduler:
        settings = self.settings
        name = (
            "constant_with_warmup" if settings.learning_rate_schedule == "constant" else settings.learning_rate_schedule
        )
        total = settings.steps * updates_per_step
        return get_scheduler(name, optimizer, num_warmup_steps=settings.warmup_steps, num_training_steps=total)

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
