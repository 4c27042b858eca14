"""The params of a network that is made here: trained from scratch, or left with its initial weights."""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from dmd.params.section import Count, Section

Width = Annotated[int, Field(ge=8, multiple_of=8, strict=True)]
"""Channels that GroupNorm divides into eight groups."""


class UNet2D(Section):
    """A `UNet2DModel` of diffusers."""

    supports_checkpointing: ClassVar[bool] = True
    """Whether its blocks can be computed again in the backward pass."""
    kind: Literal["unet2d"]
    """Which network."""
    block_out_channels: Annotated[tuple[Count, ...], Field(min_length=1)]
    """Channels of each level, from full resolution down; each level halves the image."""
    layers_per_block: Count
    """Residual blocks a level."""
    attention_resolutions: tuple[Count, ...]
    """Image heights at which a level has self-attention."""
    norm_num_groups: Count
    """Groups of every GroupNorm; must divide each level's channels."""

    @model_validator(mode="after")
    def _groups_divide(self) -> "UNet2D":
        for channels in self.block_out_channels:
            if channels % self.norm_num_groups:
                raise ValueError(f"norm_num_groups {self.norm_num_groups} does not divide {channels} channels")
        return self

    def check_images(self, image_shape: Sequence[int], num_classes: int | None) -> None:
        """Raise a `ValueError` where height or width cannot be halved at every level."""
        for name, size in zip(("height", "width"), image_shape[1:], strict=True):
            if size % 2 ** (len(self.block_out_channels) - 1):
                raise ValueError(
                    f"teacher.backbone.block_out_channels has {len(self.block_out_channels)} levels, "
                    f"but dataset.image_shape {name} {size} cannot be halved so often; drop a level"
                )


class TeaPearce(Section):
    """The conditional network of TeaPearce/Conditional_Diffusion_MNIST."""

    supports_checkpointing: ClassVar[bool] = False
    """Whether its blocks can be computed again in the backward pass."""
    kind: Literal["teapearce"]
    """Which network."""
    width: Width
    """F; 128 in the published checkpoint."""

    def check_images(self, image_shape: Sequence[int], num_classes: int | None) -> None:
        """Raise a `ValueError` for images that are not 28 by 28, or without classes."""
        if tuple(image_shape[1:]) != (28, 28):
            raise ValueError(f"teacher.backbone.kind `teapearce` takes 28 by 28 images, not {list(image_shape)}")
        if num_classes is None:
            raise ValueError("teacher.backbone.kind `teapearce` is conditional; set dataset.num_classes")


class CelebA(Section):
    """The talk's CelebA network."""

    supports_checkpointing: ClassVar[bool] = False
    """Whether its blocks can be computed again in the backward pass."""
    kind: Literal["celeba"]
    """Which network."""
    width: Width
    """Channels at full resolution; 16 in the talk."""
    time_width: Annotated[int, Field(ge=2, multiple_of=2, strict=True)]
    """Columns of the fixed time table; 64 in the talk."""

    def check_images(self, image_shape: Sequence[int], num_classes: int | None) -> None:
        """Raise a `ValueError` for images that cannot be halved twice, or with classes."""
        if image_shape[1] % 4 or image_shape[1] != image_shape[2]:
            raise ValueError(
                f"teacher.backbone.kind `celeba` takes squares of a multiple of 4, not {list(image_shape)}"
            )
        if num_classes is not None:
            raise ValueError("teacher.backbone.kind `celeba` is unconditional; set dataset.num_classes to null")


class DiT(Section):
    """A `DiTTransformer2DModel` of diffusers, of latents: it goes with `teacher.codec`."""

    supports_checkpointing: ClassVar[bool] = True
    """Whether its blocks can be computed again in the backward pass."""
    kind: Literal["dit"]
    """Which network."""
    num_layers: Count
    """Blocks."""
    num_attention_heads: Count
    """Heads of each block's attention."""
    attention_head_dim: Count
    """Channels of a head; together they are the network's width."""
    patch_size: Count
    """Height and width of the squares that become one token."""

    def check_images(self, image_shape: Sequence[int], num_classes: int | None) -> None:
        """Raise a `ValueError` where there are no classes, or the images are no squares."""
        if num_classes is None:
            raise ValueError("teacher.backbone.kind `dit` is conditional; set dataset.num_classes")
        if image_shape[1] != image_shape[2]:
            raise ValueError(f"teacher.backbone.kind `dit` takes squares, not {list(image_shape)}")


def _kind(values: Any) -> str | None:
    """The tag of the union below, of a mapping or of a section."""
    kind = values.get("kind") if isinstance(values, dict) else getattr(values, "kind", None)
    return kind if isinstance(kind, str) else None


Backbone = Annotated[
    Annotated[UNet2D, Tag("unet2d")]
    | Annotated[TeaPearce, Tag("teapearce")]
    | Annotated[CelebA, Tag("celeba")]
    | Annotated[DiT, Tag("dit")],
    Discriminator(_kind, "unknown_kind", "kind must be unet2d, teapearce, celeba or dit"),
]
"""One of the networks, by its `kind`."""
