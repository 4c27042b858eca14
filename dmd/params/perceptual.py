"""The params of the perceptual distance."""

from typing import Literal

from pydantic import model_validator

from dmd.params.section import Count, Section

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
    space: Literal["images", "latents"] | None = None
    """Of a teacher of latents, what the regression compares: decoded images, or without the decoder's cost the latents,
    by their mean squared difference. None = images."""

    @model_validator(mode="after")
    def _large_enough(self) -> "Perceptual":
        if self.resolution < SMALLEST_RESOLUTION[self.name]:
            raise ValueError(
                f"resolution {self.resolution}: {self.name} needs at least {SMALLEST_RESOLUTION[self.name]}"
            )
        return self

    @model_validator(mode="after")
    def _sees_images(self) -> "Perceptual":
        if self.space == "latents" and self.name != "pixel":
            raise ValueError(
                f"space latents: {self.name} is a distance of images; set name to pixel, or space to images"
            )
        return self
