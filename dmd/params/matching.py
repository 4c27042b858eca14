"""The params of what draws the generator to the teacher's distribution: the matching loss and a discriminator."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from dmd.params.section import Rate, Section

Level = Annotated[float, Field(gt=0)]


def _ascending(noise: tuple[float, float]) -> tuple[float, float]:
    if noise[0] >= noise[1]:
        raise ValueError(f"{list(noise)} is no range: the least noise comes first, and must be below the greatest")
    return noise


Noise = Annotated[tuple[Level, Level], AfterValidator(_ascending)]
"""A range of noise levels, sigma / alpha: it means the same for every schedule."""


class Matching(Section):
    """The loss on fresh noises."""

    loss: Literal["dmd", "sid", "none"]
    """Distribution matching, score identity, or none: regression or a discriminator alone."""
    noise: Noise
    """sigma / alpha of the noise that images are compared under, least and greatest: the scores', a discriminator's."""
    guidance_scale: Annotated[float, Field(ge=0)] | None = None
    """Of the real score; none = as the pairs', the root's `guidance_scale`."""
    divergence: Literal["reverse_kl", "forward_kl", "jensen_shannon", "softened_reverse_kl", "squared_hellinger"] = (
        "reverse_kl"
    )
    """What `dmd` descends; all but the reverse KL need a discriminator."""
    sid_a: float = 1.0
    """a of `sid`: 1.0, or 1.2 without a discriminator."""

    @model_validator(mode="after")
    def _belongs(self) -> "Matching":
        if self.divergence != "reverse_kl" and self.loss != "dmd":
            raise ValueError(f"divergence {self.divergence} belongs to loss `dmd`, not `{self.loss}`; set reverse_kl")
        return self


class Discriminator(Section):
    """A network that tells noisy generated images from noisy real ones."""

    kind: Literal["convolutional", "bottleneck"] | None = None
    """A small network of its own, the fake score's bottleneck without weights of its own, or none."""
    weight: Annotated[float, Field(ge=0)] = 0.0
    """Of the adversarial loss, beside the matching loss; 0 = the discriminator is trained for its ratio alone."""
    fake_weight: Annotated[float, Field(gt=0)] = 0.01
    """Of a bottleneck's own loss beside the fake score's denoising loss."""
    learning_rate: Rate = 1.0e-3
    """Of a convolutional one."""
    width: Annotated[int, Field(ge=8, multiple_of=8, strict=True)] = 32
    """Channels of a convolutional one after its first halving."""
