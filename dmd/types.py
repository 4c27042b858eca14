"""Checked tensor aliases. Shapes are types here, not prose; `pytest` checks them at every call.

Legend: `batch` samples, `channels`, `height`, `width` of an image. Images are in [-1, 1] everywhere in `dmd`.
"""

from collections.abc import Callable

from jaxtyping import Float, Int, UInt8
from torch import Tensor

Images = Float[Tensor, "batch channels height width"]
"""Images, noise or predictions of either: float, [B, C, H, W]."""

Latents = Float[Tensor, "batch latent_channels latent_height latent_width"]
"""What an autoencoder makes of images, where both stand in one signature."""

IMAGE_CHANNELS = (1, 3)
"""Of pictures: grey, or red, green and blue."""

Pixels = UInt8[Tensor, "batch channels height width"]
"""Stored images: 0 … 255, [B, C, H, W]."""

Labels = Int[Tensor, " batch"]
"""Rows of a table, int64, [B]: class indices, where the index `num_classes` is the null class, or prompts."""

Encoded = Float[Tensor, "batch tokens text_width"]
"""Prompts as a text encoder gives them, [B, L, D]."""

Condition = Labels | Encoded
"""What a network is told beside the time."""

Timesteps = Int[Tensor, " batch"]
"""Indices into a noise schedule's tables, 0 … T-1, [B]."""

PerSample = Float[Tensor, " batch"]
"""One number a sample, [B]."""

Table = Float[Tensor, " timesteps"]
"""One number a timestep, float64, [T]."""

Features = Float[Tensor, "batch dimensions"]
"""Feature vectors, [B, D]."""

Reference = Float[Tensor, "others dimensions"]
"""Feature vectors of another set, [M, D]."""


Logits = Float[Tensor, "batch classes"]
"""Unnormalised log-probabilities of the classes, [B, K]."""


Model = Callable[[Images, Labels | None], Images]
"""From noise and labels to images, on one device."""
