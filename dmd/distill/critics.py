"""What judges the generator and learns beside it: the fake score, and a discriminator where there is one."""

from collections.abc import Callable, Mapping

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from dmd.datasets.pairs import PairStore
from dmd.diffusion.denoiser import BaseDenoiser, Denoiser, denoising_loss
from dmd.diffusion.rng import Stream, sample_noise
from dmd.distill.batches import Batch, Batches, spread_times
from dmd.distill.discriminator import BottleneckDiscriminator, ConvolutionalDiscriminator, build_discriminator
from dmd.distill.losses import discriminator_loss
from dmd.distill.matching import Scores
from dmd.params.distill import Distill
from dmd.training.learner import Learner
from dmd.types import Images, PerSample, Timesteps

Learn = Callable[[nn.Module, float], Learner]
"""From a module and its learning rate to its learner."""

LAG_PAIRS = 64
"""So many pairs, each at a timestep of its own, tell how well a score that does not lag denoises."""


class Critics:
    """The fake score and the discriminator: trained in the same updates, on the same generated images."""

    def __init__(
        self,
        fake: Denoiser,
        settings: Distill,
        batches: Batches,
        accelerator: Accelerator,
        learn: Learn,
    ) -> None:
        """Take the copy of the teacher that becomes the fake score; without a matching loss it stays as it is."""
        self.settings, self.schedule, self.accelerator, self.denoiser = settings, fake.schedule, accelerator, fake
        self.discriminator: BottleneckDiscriminator | ConvolutionalDiscriminator | None = None
        kind = settings.discriminator.kind
        if kind is not None:
            width = settings.discriminator.width
            self.discriminator = build_discriminator(
                kind, width, fake, batches.image_shape, batches.num_classes, batches.seed
            )
        self.mu_fake: nn.Module = fake.to(accelerator.device)
        self.learns_fake: Learner | None = None
        if settings.matching.loss != "none":
            self.learns_fake = learn(fake, settings.learning_rate_fake)
            self.mu_fake = self.learns_fake.module
        self.learns_discriminator: Learner | None = None
        if isinstance(self.discriminator, ConvolutionalDiscriminator):
            self.learns_discriminator = learn(self.discriminator, settings.discriminator.learning_rate)

    @property
    def learners(self) -> dict[str, Learner]:
        """All of them, by name."""
        found = {"fake": self.learns_fake, "discriminator": self.learns_discriminator}
        return {name: learner for name, learner in found.items() if learner is not None}

    def scores(self, mu_real: BaseDenoiser) -> Scores:
        """The networks as the generator's losses ask them: no weight gathers a gradient through these."""
        logits = None if self.discriminator is None else self._autocast(self.discriminator.logits)
        return Scores(self._autocast(mu_real), self._autocast(self.denoiser), logits, self._over_all)

    def _over_all(self, values: Tensor) -> Tensor:
        return self.accelerator.reduce(values, "sum")

    @torch.no_grad()
    def baseline(self, pairs: PairStore, batches: Batches) -> float:
        """The denoising loss of a score that does not lag: the fake one's at the start, on the teacher's images."""
        count, device = min(LAG_PAIRS, len(pairs)), self.accelerator.device
        size = self.settings.micro_batch_size or count
        drawn = pairs.read(range(count))
        t = spread_times(batches.fake_times, count).to(device)
        eps = sample_noise(batches.seed, range(count), pairs.image_shape, Stream.HEALTH_NOISE).to(device)
        x0, labels = drawn["x0"].to(device), None if batches.num_classes is None else drawn["label"].to(device)
        x_t = self.schedule.add_noise(x0, eps, t).split(size)
        told = [None] * len(x_t) if labels is None else labels.split(size)
        parts = zip(x_t, t.split(size), told, strict=True)
        denoised = torch.cat([self._autocast(self.denoiser)(*part) for part in parts])
        return denoising_loss(denoised, x0, self.denoiser.training_weight(t)).item()

    def update(self, x: Images, drawn: Batch, parts: Callable[[Batch], list[Batch]], step: int) -> dict[str, Tensor]:
        """Step on the denoising loss at generated images `x` (DMD eq. 6), and on the discriminator's at real ones too.

        `drawn` has the labels of `x`, timesteps `t`, noise `eps` and the real images; `parts` cuts a batch.
        """
        names = ("t", "eps", "labels", "x_real", "t_real", "eps_real", "labels_real")
        cut = parts({"x": x, **{name: drawn[name] for name in names if name in drawn}})
        record: dict[str, Tensor] = {}
        if self.learns_fake is not None:
            record |= self._descend(self.learns_fake, self._fake_terms, cut, len(x), step, "fake")
        if self.learns_discriminator is not None:
            terms = self._descend(
                self.learns_discriminator, self._discriminator_terms, cut, len(x), step, "discriminator"
            )
            record |= terms
        return record

    def _descend(
        self,
        learner: Learner,
        loss_of: Callable[[Batch], tuple[Tensor, Mapping[str, Tensor]]],
        cut: list[Batch],
        total: int,
        step: int,
        name: str,
    ) -> dict[str, Tensor]:
        """One update of a learner with a batch in parts; each counts by its share of the samples."""
        terms: dict[str, Tensor] = {}
        for part in cut:
            share = len(part["x"]) / total
            with learner.accumulate(last=part is cut[-1]):
                loss, measured = loss_of(part)
                self.accelerator.backward(share * loss)
            for key, value in measured.items():
                terms[key] = terms.get(key, 0) + share * value.detach()
        return {**terms, f"grad_norm_{name}": learner.update(step, terms)}

    def _fake_terms(self, part: Batch) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The denoising loss; with a bottleneck's discriminator, of one pass over generated and real images."""
        listens = isinstance(self.discriminator, BottleneckDiscriminator)
        x_t, t, labels = self._both(part, part["t"]) if listens else self._generated(part, part["t"])
        x0 = self.mu_fake(x_t, t, labels)
        count = len(part["x"])
        fake = denoising_loss(x0[:count], part["x"], self.denoiser.training_weight(part["t"]))
        if not isinstance(self.discriminator, BottleneckDiscriminator):
            return fake, {"fake": fake}
        loss, measured = self._told_apart(self.discriminator.heard(), count)
        return fake + self.settings.discriminator.fake_weight * loss, {"fake": fake, **measured}

    def _discriminator_terms(self, part: Batch) -> tuple[Tensor, Mapping[str, Tensor]]:
        assert self.learns_discriminator is not None
        return self._told_apart(self.learns_discriminator.module(*self._both(part, part["t_real"])), len(part["x"]))

    def _told_apart(self, logits: PerSample, count: int) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The discriminator's loss and accuracy, of logits of which the first `count` are of generated images."""
        fake, real = logits[:count], logits[count:]
        loss = discriminator_loss(real, fake)
        accuracy = 0.5 * ((real > 0).float().mean() + (fake < 0).float().mean())
        return loss, {"discriminator": loss, "discriminator_accuracy": accuracy}

    def _generated(self, part: Batch, t: Timesteps) -> tuple[Images, Tensor, Tensor | None]:
        """Noisy copies of the generated images at timesteps `t`, and their labels."""
        return self.schedule.add_noise(part["x"], part["eps"], t), t, part.get("labels")

    def _both(self, part: Batch, t: Timesteps) -> tuple[Tensor, Tensor, Tensor | None]:
        """The same, followed by those of the real images at the same timesteps: twice the batch."""
        x_t, t, labels = self._generated(part, t)
        real = self.schedule.add_noise(part["x_real"], part["eps_real"], t)
        both = None if labels is None else torch.cat([labels, part.get("labels_real", labels)])
        return torch.cat([x_t, real]), torch.cat([t, t]), both

    def _autocast(self, call: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def under(x_t: Images, t: Tensor, labels: Tensor | None) -> Tensor:
            with self.accelerator.autocast():
                return call(x_t, t, labels).float()

        return under
