"""The params of the pretrained model: where it comes from, or how it is trained."""

import re
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from dmd.params.backbone import Backbone
from dmd.params.codec import Codec
from dmd.params.descent import Descent
from dmd.params.karras import KarrasSchedule
from dmd.params.section import Count, Decay, MixedPrecision, Section, Share, Switch

MADE_HERE = ("train", "random")
"""Values of `teacher.source` that need no files: trained on the dataset, or initialised and left untrained."""


Timesteps = Annotated[int, Field(ge=2, le=1_000_000, strict=True)]
"""T."""

Beta = Annotated[float, Field(gt=0, lt=1)]
"""A variance that a timestep adds."""

HUB = re.compile(r"https?://(www\.)?(huggingface\.co|hf\.co)/(?P<path>.*)")
"""The address of a page of the Hub."""

HUB_PAGE = re.compile(r"(?P<name>[\w.-]+/[\w.-]+)(/tree/(main|(?P<commit>[0-9a-f]{40})))?/?", re.ASCII)
"""The path there of a model's page, at a commit or not."""


class Schedule(Section):
    """The teacher's noise schedule. For an imported teacher it must agree with the checkpoint."""

    num_train_timesteps: Timesteps
    """T."""
    beta_schedule: Literal["linear", "scaled_linear", "squaredcos_cap_v2"]
    """Shape of the betas, by diffusers' names."""
    beta_start: Beta
    """First beta."""
    beta_end: Beta
    """Last beta."""
    prediction_type: Literal["epsilon", "v_prediction", "sample"]
    """What the network's output means."""

    @model_validator(mode="after")
    def _betas_grow(self) -> "Schedule":
        if self.beta_start > self.beta_end:
            raise ValueError(f"beta_start {self.beta_start} is above beta_end {self.beta_end}; swap them")
        return self


BETAS, SIGMAS = SCHEDULE_TAGS = "(betas)", "(sigmas)"
"""Pydantic's names for the two kinds of schedule; they are in no params file."""


def _kind(values: Any) -> str:
    given = values.get("prediction_type") if isinstance(values, dict) else getattr(values, "prediction_type", None)
    return SIGMAS if given == "edm" else BETAS


AnySchedule = Annotated[
    Annotated[Schedule, Tag(BETAS)] | Annotated[KarrasSchedule, Tag(SIGMAS)],
    Discriminator(_kind),
]
"""A schedule, by its `prediction_type`."""


class Training(Descent):
    """How `teacher.source: train` trains."""

    betas: tuple[Decay, Decay]
    """AdamW's."""
    weight_decay: Annotated[float, Field(ge=0)]
    """AdamW's."""
    label_dropout: Share
    """Share of labels replaced by the null class."""
    horizontal_flip: Switch = False
    """Half of the images, drawn anew at each look, are seen in a mirror."""
    max_snr: Annotated[float, Field(gt=0)] | None
    """The loss weighs a timestep's x0 error by min(SNR, max_snr): Min-SNR (Hang et al. 2023, arXiv 2303.09556); with
    prediction `edm`, by min(1 / c_out², max_snr). None = no bound."""
    mixed_precision: MixedPrecision = None
    """`bf16`: passes under autocast to bfloat16, faster where the device has it, and rounded."""
    workers: Count | None = None
    """Processes that draw the batches, where the device is faster than the one thread that does it without."""


class Teacher(Section):
    """The pretrained model."""

    source: Annotated[str, Field(min_length=1)]
    """A local folder in diffusers' format, a file of tensors (`dmd.fetch.adm_checkpoint`), a hub id (`org/name` or
    `org/name@commit`), the address of a known archive (`dmd.fetch.archived_teacher`), `train`, or `random`: initial
    weights, to try a system out. The address of a model's page on the Hub is taken as its id."""
    revision: Annotated[str, Field(pattern="^[0-9a-f]{40}$")] | None = None
    """The commit of a hub id; none takes the newest, which `fetch` names. Of no other source."""
    schedule: AnySchedule | None
    """None takes the checkpoint's."""
    latent_scale: Annotated[float, Field(gt=0)] | None = None
    """What latents are multiplied with, where the codec's own `scaling_factor` is not that of the training."""
    codec: Codec | None = None
    """An autoencoder that is made here, before the network of its latents; None makes a network of pixels."""
    backbone: Backbone | None = None
    training: Training | None = None

    @field_validator("source")
    @classmethod
    def _id_of_a_page(cls, source: str) -> str:
        address = HUB.fullmatch(source)
        if address is None:
            return source
        page = HUB_PAGE.fullmatch(address["path"])
        if page is None or page["name"].startswith(("datasets/", "spaces/")):
            raise ValueError(f"{source!r} is no model's page on the Hub; write its id, `org/name` or `org/name@commit`")
        return page["name"] + (f"@{page['commit']}" if page["commit"] else "")

    @model_validator(mode="after")
    def _sections(self) -> "Teacher":
        needed = {"train": ("schedule", "backbone", "training"), "random": ("schedule", "backbone")}
        for name in needed.get(self.source, ()):
            if getattr(self, name) is None:
                raise ValueError(f"source `{self.source}` needs the section `{name}`")
        if self.source in MADE_HERE:
            self._check_made_here()
        if self.latent_scale is not None and self.source in MADE_HERE:
            raise ValueError(
                f"latent_scale {self.latent_scale} is of a codec that is brought, and source `{self.source}` makes its "
                "own; set it to null"
            )
        if self.revision is not None and (self.source in MADE_HERE or "://" in self.source):
            raise ValueError(f"revision {self.revision} is of a hub id, but source is {self.source!r}; set it to null")
        return self

    @property
    def makes_latents(self) -> bool:
        """Whether what is made here is a network of latents; of what is brought, its files say it."""
        return self.codec is not None and self.source in MADE_HERE

    def _check_made_here(self) -> None:
        kind = None if self.backbone is None else self.backbone.kind
        edm = isinstance(self.schedule, KarrasSchedule)
        if edm and kind != "unet2d":
            raise ValueError(
                f"backbone.kind `{kind}` has a table of times, and cannot be told the noise levels of "
                "prediction_type `edm`; take unet2d"
            )
        if self.codec is None:
            if kind == "dit":
                raise ValueError("backbone.kind `dit` is a network of latents: add the section codec, or take unet2d")
            return
        if kind not in ("dit", "unet2d"):
            raise ValueError(f"backbone.kind `{kind}` is a network of pixels; take dit or unet2d, or remove codec")
        if edm:
            raise ValueError(
                "prediction_type `edm` with codec: no stock pipeline draws it; take betas, or remove codec"
            )
        if self.source == "train" and self.codec.training is None:
            raise ValueError("source `train` with codec needs the section `codec.training`")
        if self.training is not None and self.training.horizontal_flip:
            raise ValueError("training.horizontal_flip true with codec: each image is encoded once; set it to false")
