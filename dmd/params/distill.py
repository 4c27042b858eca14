"""The params of distillation and of its perceptual distance."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from dmd.params.section import Count, Decay, MixedPrecision, Rate, Section, Share, Switch

SMALLEST_RESOLUTION = {
    "pixel": 1,
    "lpips-vgg": 16,
    "lpips-alex": 31,
    "lpips-squeeze": 17,
    "stlpips-vgg": 18,
    "stlpips-alex": 21,
}
"""Every distance by its name, with the smallest height and width that its poolings and paddings accept."""


class Perceptual(Section):
    """The distance of the regression loss."""

    name: Literal["lpips-vgg", "lpips-alex", "lpips-squeeze", "stlpips-vgg", "stlpips-alex", "pixel"]
    """LPIPS with its backbone, shift-tolerant LPIPS with its backbone, or the mean squared pixel difference."""
    resolution: Count
    """Images are resized bilinearly to this height and width first."""

    @model_validator(mode="after")
    def _large_enough(self) -> "Perceptual":
        if self.resolution < SMALLEST_RESOLUTION[self.name]:
            raise ValueError(
                f"resolution {self.resolution}: {self.name} needs at least {SMALLEST_RESOLUTION[self.name]}"
            )
        return self


class Distill(Section):
    """Distribution matching distillation."""

    generator_timestep: Annotated[int, Field(ge=0, strict=True)]
    """t*: the timestep at which the one-step generator calls its network."""
    steps: Count
    """Generator updates."""
    batch_size: Count
    """Fresh noises a generator update, and images a fake-score update."""
    pairs_batch_size: Count
    """Pairs a generator update."""
    micro_batch_size: Count | None = None
    """Fresh noises a pass, pairs spread over as many passes; none = all at once. Changes memory and speed only."""
    gradient_checkpointing: Switch = False
    """Keep the inputs of the blocks of a `UNet2DModel` alone, compute the rest again. Changes memory and speed only."""
    compile: Switch = False
    """Compile the three networks with `torch.compile`: faster after a wait, and the same losses but for rounding."""
    mixed_precision: MixedPrecision = None
    """`bf16`: passes of the three networks under autocast to bfloat16, faster where the device has it, and rounded."""
    learning_rate_generator: Rate
    """Of the generator."""
    learning_rate_fake: Rate
    """Of the fake score."""
    learning_rate_schedule: Literal["constant", "linear", "cosine"]
    """After the warm-up: constant, or falling to zero at the last step; both optimisers."""
    betas: tuple[Decay, Decay]
    """AdamW's, both optimisers."""
    weight_decay: Annotated[float, Field(ge=0)]
    """AdamW's, both optimisers."""
    warmup_steps: Annotated[int, Field(ge=0, strict=True)]
    """Updates of linear warm-up, both optimisers."""
    max_grad_norm: Annotated[float, Field(gt=0)]
    """Gradient norms are clipped here, both networks."""
    num_fake_updates: Count
    """Fake-score updates a generator update: 1 in DMD, 5 in DMD2."""
    ema_decay: Decay
    """Of the generator that is saved."""
    min_timestep: Share
    """Lower end of the distribution-matching timesteps, as a share of T."""
    max_timestep: Share
    """Upper end of the distribution-matching timesteps, as a share of T."""
    perceptual: Perceptual
    history_epochs: Count
    """The fixed noises are drawn at step 0 and after each of so many equal parts of the run."""
    health_steps: Count
    """Generator updates from one row of health.csv to the next."""
    checkpoint_steps: Count
    """Generator updates between checkpoints in `.work/`."""

    @model_validator(mode="after")
    def _ordered(self) -> "Distill":
        if self.min_timestep >= self.max_timestep:
            raise ValueError(f"min_timestep {self.min_timestep} is not below max_timestep {self.max_timestep}")
        if self.history_epochs > self.steps:
            raise ValueError(f"history_epochs {self.history_epochs} is above steps {self.steps}; lower it")
        if self.pairs_batch_size < self.num_parts(1):  # then no number of processes has too few either
            raise ValueError(
                f"pairs_batch_size {self.pairs_batch_size} cannot be spread over {self.num_parts(1)} micro-batches; "
                f"raise micro_batch_size, {self.micro_batch_size}"
            )
        return self

    def num_parts(self, processes: int) -> int:
        """Micro-batches of each of so many processes' part of a batch."""
        size = self.batch_size // processes
        return -(-size // (self.micro_batch_size or size))
