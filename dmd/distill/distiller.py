"""Distillation (Yin et al. 2024, arXiv 2311.18828, 2405.14867): generator, fake score and discriminator in turns."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from dmd.datasets.pairs import PairStore
from dmd.diffusion.denoiser import Denoiser
from dmd.diffusion.guidance import GuidedDenoiser, with_guidance
from dmd.diffusion.prompts import evaluated_labels
from dmd.distill.batches import Batch, Batches, RealImages, cut
from dmd.distill.critics import Critics
from dmd.distill.health import Health
from dmd.distill.losses import surrogate_loss
from dmd.distill.matching import METHODS, Noised, Term, adversarial
from dmd.distill.networks import build_networks
from dmd.distill.passes import passes_per_step
from dmd.distill.student import Student
from dmd.params.distill import Distill
from dmd.training.accelerator import build_accelerator
from dmd.training.checkpoint import TrainingState
from dmd.training.learner import SETTLE_STEPS, Learner, settle
from dmd.training.prefetch import ReadAhead
from dmd.types import Images

HEALTH_PAIRS = 1000
"""So many of the first pairs stand for all of them when generated images are compared with the pairs'."""


class Distiller:
    """Three copies of the teacher: the generator, the frozen real score and the trained fake score.

    With `settings.lora` they are one copy and two adapters.

    The generator descends its matching loss and the adversarial one by their gradients at its images, and the
    regression on pairs; one backward pass carries all three into its weights.
    """

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
        real: RealImages | None = None,
    ) -> None:
        """Copy `teacher` three times; all stay in eval mode, so that mu_fake equals mu_real at the start.

        `regression_weight` is alpha; `guidance_scale` the pairs', and the real score's unless `settings.matching` has
        its own; `num_classes` counts the labels, classes or prompts; `real` has the images for a discriminator.

        Raises:
            ValueError: a batch size does not fit the processes, a range of noise holds no timestep, guidance has no
                null class, checkpointing no support, a discriminator no images; the launcher is at another precision.
        """
        self.accelerator = build_accelerator(settings.mixed_precision, "distill.mixed_precision")
        self.settings, self.num_classes, self.pairs, self.prompts = settings, num_classes, pairs, teacher.prompts
        self.regression_weight, self.schedule, self._seed = regression_weight, teacher.schedule, seed
        self.batches = self._batches(real)
        student, fake, judge = build_networks(teacher, settings, seed, self.accelerator.device)
        self.student = Student(student, settings, self.batches, self._learner(settings.steps))
        self.critics = Critics(fake, settings, self.batches, self.accelerator, self._learner(self._critics_updates))
        # Frozen by no_grad, not by requires_grad, which picks other CPU kernels: mu_real starts as mu_fake to the bit.
        guided = with_guidance(judge, self._guidance(guidance_scale), num_classes)
        self.mu_real = guided.to(self.accelerator.device).eval()
        self.scores = self.critics.scores(self.mu_real)
        self.perceptual = perceptual.to(self.accelerator.device)
        self.health = self._health()
        self.batch, self.fake_batch = (
            ReadAhead(draw, self.accelerator.device) for draw in (self.batches.draw, self.batches.draw_fake)
        )
        self.state = self._state({"generator": student.backbone, "fake": fake.backbone})

    @property
    def learners(self) -> dict[str, Learner]:
        """Of all that is trained, by name."""
        return {"generator": self.student.learner} | self.critics.learners

    @property
    def evaluated_labels(self) -> tuple[int | None, int]:
        """How many labels an evaluation draws from, and the first."""
        return evaluated_labels(self.prompts, self.num_classes)

    @property
    def passes_per_step(self) -> float:
        """What an iteration costs, in forward passes of one image."""
        guided = isinstance(self.mu_real, GuidedDenoiser)
        return passes_per_step(self.settings, regression=self.regression_weight > 0, guided=guided)

    def step(self, step: int) -> dict[str, Tensor]:
        """One iteration: a generator update, then `num_fake_updates` of the critics, the first on the same images.

        Before the first come the critics' warm-up updates. Returns the losses and gradient norms as tensors; those of
        the critics are of the first update, whose images are those that the generator has just learned from.
        """
        if step == 0 and self.settings.has_critics:
            for number in range(self.settings.fake_warmup_updates):
                self._update_critics(number, None, step)
                if (number + 1) % SETTLE_STEPS == 0:
                    settle(*self.critics.learners.values())
        record, x = self.update_generator(self.batch(step), step)
        record |= {name: torch.zeros_like(record["regression"]) for name in ("fake", "grad_norm_fake")}
        if not self.settings.has_critics:
            return record
        first = self.batches.number(step)
        measured = [
            self._update_critics(first + update, x if update == 0 else None, step)
            for update in range(self.settings.num_fake_updates)
        ]
        return record | measured[0]

    def update_generator(self, batch: Batch, step: int) -> tuple[dict[str, Tensor], Images]:
        """Step on the matching loss + weight · adversarial loss + alpha · regression; returns its terms and images.

        Terms are means over the batch, whatever the micro-batches: each part counts by its share of the samples. The
        images are those of the fresh noises, detached.
        """
        parts, drawn = self._parts(batch), []
        terms = dict.fromkeys(self._term_names, torch.zeros((), device=batch["z"].device))
        for part in parts:
            share = len(part["z"]) / len(batch["z"])
            with self.student.learner.accumulate(last=part is parts[-1]):
                images, x_ref = self.student.images(part, self.batches.number(step))
                self.health.watch(step, images, len(part["z"]))
                x = images[: len(part["z"])]
                found = self.image_terms(x.detach(), part)
                for name, (value, _) in found.items():
                    terms[name] = terms[name] + share * value
                gradients = {name: share * self._weight(name) * gradient for name, (_, gradient) in found.items()}
                loss = surrogate_loss(x, sum(gradients.values(), torch.zeros_like(x)))
                if self.health.watches(step):
                    self.health.note_gradients(step, gradients, *self._levels(found, part))
                if x_ref is not None:
                    distance = self.perceptual(x_ref.float(), part["x_ref"]).mean()
                    regression = len(part["z_ref"]) / len(batch["z_ref"]) * distance
                    loss = loss + self.regression_weight * regression
                    terms["regression"] = terms["regression"] + regression.detach()
                self.accelerator.backward(loss)
            drawn.append(x.detach())
        norm = self.student.update(step, terms)
        return {**terms, "grad_norm_generator": norm}, torch.cat(drawn)

    def image_terms(self, x: Images, batch: Batch) -> dict[str, Term]:
        """Each loss at generated images `x`, at the batch's timesteps `t` and noise `eps`, and its gradient there."""
        noised, found = Noised(x, batch["t"], batch["eps"], batch.get("labels"), self.schedule), {}
        if self.settings.matching.loss != "none":
            found["distribution_matching"] = METHODS[self.settings.matching.loss](
                self.scores, noised, self.settings.matching
            )
        if self._adversarial:
            found["adversarial"] = adversarial(self.scores, noised)
        return found

    def _levels(self, found: Mapping[str, Term], part: Batch) -> tuple[Tensor, Tensor] | tuple[()]:
        """Each image's own norm of the matching gradient, and its noise level."""
        if "distribution_matching" not in found:
            return ()
        gradient = found["distribution_matching"][1]
        noised = Noised(gradient, part["t"], part["eps"], None, self.schedule)
        return gradient.flatten(1).norm(dim=1) * len(gradient), noised.bins(*self.settings.matching.noise)

    def _update_critics(self, number: int, x: Images | None, step: int) -> dict[str, Tensor]:
        drawn = self.fake_batch(number)
        return self.critics.update(
            self.student.draw(self._parts(drawn), number) if x is None else x, drawn, self._parts, step
        )

    @property
    def _adversarial(self) -> bool:
        return self.settings.discriminator.kind is not None and self.settings.discriminator.weight > 0

    @property
    def _term_names(self) -> tuple[str, ...]:
        """The losses that a table of losses has: matching and regression always, zero where there is none."""
        return ("distribution_matching", "regression", *(("adversarial",) if self._adversarial else ()))

    def _weight(self, name: str) -> float:
        return self.settings.discriminator.weight if name == "adversarial" else 1.0

    def _parts(self, batch: Batch) -> list[Batch]:
        """The micro-batches of this process's part of a batch."""
        return cut(batch, self.settings.num_parts(self.accelerator.num_processes))

    @property
    def _critics_updates(self) -> int:
        """Updates of fake score and discriminator, the warm-up's too."""
        return self.settings.fake_warmup_updates + self.settings.steps * self.settings.num_fake_updates

    def _guidance(self, of_pairs: float) -> float:
        """The real score's, where the pairs have `of_pairs`."""
        own = self.settings.matching.guidance_scale
        return of_pairs if own is None else own

    def _batches(self, real: RealImages | None) -> Batches:
        needed = self.settings.discriminator.kind is not None
        if needed and real is None:
            raise ValueError("distill.discriminator.kind is set, but there are no real images for it")
        return Batches(
            self.settings,
            self.schedule,
            self.pairs.image_shape,
            self.num_classes,
            self._seed,
            self.pairs if self.regression_weight > 0 else None,
            real if needed else None,
            self.accelerator.process_index,
            self.accelerator.num_processes,
        )

    def _learner(self, updates: int) -> Callable[[nn.Module, float], Learner]:
        """From a module and its rate to its learner, for so many updates."""
        settings = self.settings

        def learn(module: nn.Module, rate: float) -> Learner:
            learner = Learner(
                self.accelerator, module, rate, settings.betas, settings.weight_decay, settings.max_grad_norm
            )
            return learner.schedule(settings.learning_rate_schedule, settings.warmup_steps, updates)

        return learn

    def _state(self, networks: dict[str, nn.Module]) -> TrainingState:
        learners = self.learners
        if self.critics.learns_discriminator is not None:
            networks["discriminator"] = self.accelerator.unwrap_model(self.critics.learns_discriminator.module)
        optimizers = {name: learner.optimizer for name, learner in learners.items()}
        schedulers = {name: learner.lr_scheduler for name, learner in learners.items()}
        return TrainingState(networks, optimizers, schedulers, {"generator": self.student.average})

    def _health(self) -> Health:
        sample = self.pairs.read(range(min(HEALTH_PAIRS, len(self.pairs))))["x0"]
        matches = self.settings.matching.loss != "none"
        baseline = self.critics.baseline(self.pairs, self.batches) if matches else None
        return Health(self.settings.health_steps, self.settings.max_grad_norm, sample, baseline)
