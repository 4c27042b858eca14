"""Distribution matching distillation (Yin et al. 2024, arXiv 2311.18828): generator and fake score in turns."""

import copy

import torch
from diffusers.training_utils import EMAModel
from torch import Tensor, nn

from dmd.datasets.pairs import PairStore
from dmd.diffusion.denoiser import Denoiser, denoising_loss
from dmd.diffusion.generator import OneStepGenerator
from dmd.diffusion.guidance import with_guidance
from dmd.distill.batches import Batch, Batches
from dmd.distill.health import Health
from dmd.distill.losses import distribution_matching_gradient, distribution_matching_loss
from dmd.models.backbones import checkpoint_activations
from dmd.params.distill import Distill
from dmd.training.accelerator import build_accelerator
from dmd.training.checkpoint import TrainingState
from dmd.training.compile import compile_network
from dmd.training.learner import Learner
from dmd.training.prefetch import ReadAhead
from dmd.types import Images

HEALTH_PAIRS = 1000
"""So many of the first pairs stand for all of them when generated images are compared with the pairs'."""


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
        """Copy `teacher` three times; all stay in eval mode, so that mu_fake equals mu_real at the start.

        Raises:
            ValueError: a batch size does not fit the processes, guidance has no null class, checkpointing no support;
                the launcher is at another precision.
        """
        self.accelerator = build_accelerator(settings.mixed_precision, "distill.mixed_precision")
        self.settings, self.num_classes, self.pairs = settings, num_classes, pairs
        self.regression_weight, self.schedule = regression_weight, teacher.schedule
        batches = self._batches(teacher.schedule.num_timesteps, seed)
        student, fake, real = (self._copy(teacher) for _ in range(3))
        self.generator_backbone: nn.Module = student.backbone
        generator = OneStepGenerator(student, settings.generator_timestep).eval()
        self.learns_generator = self._learner(generator, settings.learning_rate_generator, 1)
        self.learns_fake = self._learner(fake, settings.learning_rate_fake, settings.num_fake_updates)
        self.generator, self.mu_fake = self.learns_generator.module, self.learns_fake.module
        # Frozen by no_grad, not by requires_grad, which picks other CPU kernels: mu_real starts as mu_fake to the bit.
        self.mu_real = with_guidance(real, guidance_scale, num_classes).to(self.accelerator.device).eval()
        self.perceptual = perceptual.to(self.accelerator.device)
        self.average = EMAModel(student.backbone.parameters(), decay=settings.ema_decay, foreach=True)
        self.health = self._health()
        self.batch, self.fake_batch = (
            ReadAhead(draw, self.accelerator.device) for draw in (batches.draw, batches.draw_fake)
        )
        self.state = self._state({"generator": student.backbone, "fake": fake.backbone})

    def step(self, step: int) -> dict[str, Tensor]:
        """One iteration: a generator update, then `num_fake_updates` of the fake score, the first on the same images.

        Returns the losses and gradient norms as tensors.
        """
        batch = self.batch(step)
        record, x = self.update_generator(batch, step)
        for update in range(self.settings.num_fake_updates):
            drawn = self.fake_batch(step * self.settings.num_fake_updates + update)
            if update > 0:
                with torch.no_grad():
                    x = torch.cat([self.generator(part["z"], part.get("labels")) for part in self._parts(drawn)])
            record |= self.update_fake(x, drawn, step)
        return record

    def update_generator(self, batch: Batch, step: int) -> tuple[dict[str, Tensor], Images]:
        """Step on `L_dm + alpha L_reg`; returns its terms and the images of the fresh noises, detached.

        Terms are means over the batch, whatever the micro-batches: each part counts by its share of the samples.
        """
        parts, drawn = self._parts(batch), []
        terms = {name: torch.zeros((), device=batch["z"].device) for name in ("distribution_matching", "regression")}
        for part in parts:
            share, share_ref = len(part["z"]) / len(batch["z"]), len(part["z_ref"]) / len(batch["z_ref"])
            with self.learns_generator.accumulate(last=part is parts[-1]):
                matching, regression, x = self._generator_terms(part, step)
                matching, regression = share * matching, share_ref * regression
                self.accelerator.backward(matching + self.regression_weight * regression)
            terms["distribution_matching"] += matching.detach()
            terms["regression"] += regression.detach()
            drawn.append(x.detach())
        norm = self.learns_generator.update(step, terms)
        self.average.step(self.generator_backbone.parameters())
        return {**terms, "grad_norm_generator": norm}, torch.cat(drawn)

    def _generator_terms(self, part: Batch, step: int) -> tuple[Tensor, Tensor, Images]:
        """L_dm, L_reg and the images of the fresh noises.

        One forward pass draws both halves: fresh noises for L_dm (DMD eq. 7), pairs' noises for L_reg (DMD eq. 9).
        """
        size = len(part["z"])
        labels = torch.cat([part["labels"], part["labels_ref"]]) if "labels" in part else None
        images = self.generator(torch.cat([part["z"], part["z_ref"]]), labels)
        self.health.watch(step, images, size)
        x = images[:size]
        matching = distribution_matching_loss(x, self.matching_gradient(x.detach(), part))
        return matching, self.perceptual(images[size:].float(), part["x_ref"]).mean(), x

    @torch.no_grad()
    def matching_gradient(self, x: Images, batch: Batch) -> Images:
        """The distribution-matching gradient at images `x`, at the batch's timesteps `t` and noise `eps`."""
        x_t = self.schedule.add_noise(x, batch["eps"], batch["t"])
        with self.accelerator.autocast():  # as the prepared mu_fake does: both in one precision
            x0_real = self.mu_real(x_t, batch["t"], batch.get("labels"))
        x0_fake = self.mu_fake(x_t, batch["t"], batch.get("labels"))
        return distribution_matching_gradient(x, x0_real, x0_fake)

    def update_fake(self, x: Images, drawn: Batch, step: int) -> dict[str, Tensor]:
        """Step on the fake score's denoising loss at generated images, t uniform over all of [0, T) (DMD eq. 6).

        `drawn` has the labels of `x`, the timesteps `t` and the noise `eps`.
        """
        batch = {"x": x, **{name: drawn[name] for name in ("t", "eps", "labels") if name in drawn}}
        parts, terms = self._parts(batch), {"fake": torch.zeros((), device=x.device)}
        for part in parts:
            with self.learns_fake.accumulate(last=part is parts[-1]):
                x_t = self.schedule.add_noise(part["x"], part["eps"], part["t"])
                x0_fake = self.mu_fake(x_t, part["t"], part.get("labels"))
                loss = denoising_loss(x0_fake, part["x"], self.schedule.snr(part["t"])) * (len(part["x"]) / len(x))
                self.accelerator.backward(loss)
            terms["fake"] += loss.detach()
        norm = self.learns_fake.update(step, terms)
        return {**terms, "grad_norm_fake": norm}

    def _batches(self, num_timesteps: int, seed: int) -> Batches:
        return Batches(
            self.pairs,
            self.settings,
            num_timesteps=num_timesteps,
            num_classes=self.num_classes,
            seed=seed,
            process=self.accelerator.process_index,
            num_processes=self.accelerator.num_processes,
        )

    def _copy(self, teacher: Denoiser) -> Denoiser:
        copied = copy.deepcopy(teacher).eval()
        if self.settings.gradient_checkpointing:
            checkpoint_activations(copied.backbone)
        if self.settings.compile:
            compile_network(copied.backbone, self.accelerator.device, "distill.compile")
        return copied

    def _learner(self, module: nn.Module, learning_rate: float, updates_per_step: int) -> Learner:
        settings = self.settings
        learner = Learner(
            self.accelerator, module, learning_rate, settings.betas, settings.weight_decay, settings.max_grad_norm
        )
        steps = settings.steps * updates_per_step
        return learner.schedule(settings.learning_rate_schedule, settings.warmup_steps, steps)

    def _state(self, networks: dict[str, nn.Module]) -> TrainingState:
        learners = {"generator": self.learns_generator, "fake": self.learns_fake}
        optimizers = {name: learner.optimizer for name, learner in learners.items()}
        schedulers = {name: learner.lr_scheduler for name, learner in learners.items()}
        return TrainingState(networks, optimizers, schedulers, {"generator": self.average})

    def _health(self) -> Health:
        sample = self.pairs.read(range(min(HEALTH_PAIRS, len(self.pairs))))["x0"]
        return Health(self.settings.health_steps, self.settings.max_grad_norm, sample)

    @property
    def _num_parts(self) -> int:
        """Micro-batches of this process's part of a batch."""
        return self.settings.num_parts(self.accelerator.num_processes)

    def _parts(self, batch: Batch) -> list[Batch]:
        """The micro-batches of a batch: fresh noises and pairs alike spread over as many parts."""
        split = {name: tensor.tensor_split(self._num_parts) for name, tensor in batch.items()}
        return [{name: parts[i] for name, parts in split.items()} for i in range(self._num_parts)]
