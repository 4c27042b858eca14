"""The params of distillation: how the generator, the fake score and a discriminator are trained."""

import itertools
from typing import Annotated, Literal

from pydantic import Field, model_validator

from dmd.params.matching import Discriminator, Matching, Noise
from dmd.params.perceptual import Perceptual
from dmd.params.section import LEAST_SAMPLES, Count, Decay, MixedPrecision, Rate, Section, Switch

Timestep = Annotated[int, Field(ge=0, strict=True)]


class Lora(Section):
    """Low-rank adapters of a text-to-image network, in place of two more copies of it."""

    rank: Count
    """Columns of A and rows of B, in `W x + B A x`."""


class Distill(Section):
    """Distillation into a generator of one step, or of a few."""

    generator_timesteps: Annotated[tuple[Timestep, ...], Field(min_length=1)]
    """t*, the timestep at which the one-step generator calls its network; several, falling, make as many calls."""
    matched_steps: Literal["all", "last"] = "all"
    """Of a generator of several: an update trains one drawn from all, as DMD2 does, or always the last, whose images
    are the generator's own. One fake score of all steps' images lets one step make up for another.
    """
    steps: Count
    """Generator updates."""
    batch_size: Count
    """Fresh noises a generator update, and images a fake-score update."""
    pairs_batch_size: Count
    """Pairs a generator update; none are read where alpha is 0."""
    micro_batch_size: Count | None = None
    """Fresh noises a pass, pairs spread over as many passes; none = all at once. Changes memory and speed only."""
    gradient_checkpointing: Switch = False
    """Keep the inputs of the blocks of a `UNet2DModel` alone, compute the rest again. Changes memory and speed only."""
    compile: Switch = False
    """Compile the three networks with `torch.compile`: faster after a wait, and the same losses but for rounding."""
    lora: Lora | None = None
    """Train adapters of one base as generator and fake score; none = train both whole."""
    mixed_precision: MixedPrecision = None
    """`bf16`: passes of the three networks under autocast to bfloat16, faster where the device has it, and rounded."""
    matching: Matching
    discriminator: Discriminator
    learning_rate_generator: Rate
    """Of the generator."""
    learning_rate_fake: Rate
    """Of the fake score."""
    learning_rate_schedule: Literal["constant", "linear", "cosine"]
    """After the warm-up: constant, or falling to zero at the last step; all optimisers."""
    betas: tuple[Decay, Decay]
    """AdamW's, all optimisers."""
    weight_decay: Annotated[float, Field(ge=0)]
    """AdamW's, all optimisers."""
    warmup_steps: Annotated[int, Field(ge=0, strict=True)]
    """Updates of linear warm-up, all optimisers."""
    max_grad_norm: Annotated[float, Field(gt=0)]
    """Gradient norms are clipped here, all networks."""
    num_fake_updates: Count
    """Updates of fake score and discriminator a generator update: 1 in DMD, 5 in DMD2."""
    fake_warmup_updates: Annotated[int, Field(ge=0, strict=True)] = 0
    """Updates of fake score and discriminator before the generator's first."""
    fake_noise: Noise | None = None
    """sigma / alpha of the noise that the fake score is trained at, least and greatest; none = all timesteps.

    It holds `matching.noise`, where the fake score is asked.
    """
    ema_decay: Decay
    """Of the generator that is saved. After s updates it is at most (1 + s) / (10 + s)."""
    perceptual: Perceptual
    history_epochs: Count
    """The fixed noises are drawn at step 0 and after each of so many equal parts of the run."""
    snapshot_samples: Annotated[int, Field(ge=0, strict=True)] = 0
    """So many samples are kept at each of those steps, which `evaluate` scores: a curve of the distance; 0 = none.

    Else 20 at least, as `evaluate.num_samples`.
    """
    health_steps: Count
    """Generator updates from one row of health.csv to the next."""
    checkpoint_steps: Count
    """Generator updates between checkpoints in `.work/`."""

    @model_validator(mode="after")
    def _ordered(self) -> "Distill":
        times = self.generator_timesteps
        if any(later >= earlier for earlier, later in itertools.pairwise(times)):
            raise ValueError(f"generator_timesteps {list(times)} do not fall; sort them from noise to image")
        if 0 < self.snapshot_samples < LEAST_SAMPLES:
            raise ValueError(
                f"snapshot_samples {self.snapshot_samples} are too few to score; take {LEAST_SAMPLES} or more, or 0"
            )
        if self.history_epochs > self.steps:
            raise ValueError(f"history_epochs {self.history_epochs} is above steps {self.steps}; lower it")
        if self.pairs_batch_size < self.num_parts(1):  # then no number of processes has too few either
            raise ValueError(
                f"pairs_batch_size {self.pairs_batch_size} cannot be spread over {self.num_parts(1)} micro-batches; "
                f"raise micro_batch_size, {self.micro_batch_size}"
            )
        return self

    @model_validator(mode="after")
    def _adapters_are_plain(self) -> "Distill":
        for key in ("gradient_checkpointing", "compile"):
            if self.lora is not None and getattr(self, key):
                raise ValueError(
                    f"{key} true counts on a network for each of the three, and lora has one for all; set it to false"
                )
        return self

    @model_validator(mode="after")
    def _methods_agree(self) -> "Distill":
        matching, discriminator = self.matching, self.discriminator
        if matching.divergence != "reverse_kl" and discriminator.kind is None:
            raise ValueError(
                f"matching.divergence {matching.divergence} weighs by a discriminator's density ratio; set "
                "discriminator.kind to convolutional or bottleneck, or matching.divergence to reverse_kl"
            )
        if matching.divergence != "reverse_kl" and self.micro_batch_size is not None:
            raise ValueError(
                f"matching.divergence {matching.divergence} weighs the samples of a whole batch; set micro_batch_size "
                "to null"
            )
        if (discriminator.kind is None) != (discriminator.weight == 0) and matching.divergence == "reverse_kl":
            raise ValueError(
                f"discriminator.kind {discriminator.kind or 'null'} with discriminator.weight {discriminator.weight:g} "
                "changes nothing; set both, as convolutional and 0.06, or null and 0"
            )
        if discriminator.kind == "bottleneck" and matching.loss == "none":
            raise ValueError(
                "discriminator.kind bottleneck is a part of the fake score, which matching.loss none has not; take "
                "convolutional"
            )
        return self

    @model_validator(mode="after")
    def _fake_score_learns_where_it_is_asked(self) -> "Distill":
        asked, learned = self.matching.noise, self.fake_noise
        if self.matching.loss != "none" and learned and not learned[0] <= asked[0] < asked[1] <= learned[1]:
            raise ValueError(
                f"fake_noise {list(learned)} does not hold matching.noise {list(asked)}: the fake score would be asked "
                "where it was never trained; widen it, or set it to null"
            )
        return self

    @property
    def has_critics(self) -> bool:
        """Whether anything but the generator is trained."""
        return self.matching.loss != "none" or self.discriminator.kind is not None

    def num_parts(self, processes: int) -> int:
        """Micro-batches of each of so many processes' part of a batch."""
        size = self.batch_size // processes
        return -(-size // (self.micro_batch_size or size))
