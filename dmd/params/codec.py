"""The params of an autoencoder that is trained here, for a teacher of latents."""

from typing import Annotated

from pydantic import Field, model_validator

from dmd.params.descent import Descent
from dmd.params.section import Count, Section


class CodecTraining(Descent):
    """How `teacher.source: train` trains the autoencoder, before the network of latents."""

    kl_weight: Annotated[float, Field(ge=0)]
    """Of the divergence from N(0, I), a mean over the latents, beside the squared error, a mean over the pixels."""


class Codec(Section):
    """An `AutoencoderKL` of diffusers, of the sources `train` and `random`; its latents are the images of the rest."""

    block_out_channels: Annotated[tuple[Count, ...], Field(min_length=1)]
    """Channels of each level, from full resolution down; each level but the first halves the image."""
    layers_per_block: Count
    """Residual blocks a level."""
    latent_channels: Count
    """Channels of the latents."""
    norm_num_groups: Count
    """Groups of every GroupNorm; must divide each level's channels."""
    training: CodecTraining | None = None

    @model_validator(mode="after")
    def _groups_divide(self) -> "Codec":
        for channels in self.block_out_channels:
            if channels % self.norm_num_groups:
                raise ValueError(f"norm_num_groups {self.norm_num_groups} does not divide {channels} channels")
        return self
