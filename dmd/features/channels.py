"""Images as networks of photographs want them."""

from jaxtyping import Float
from torch import Tensor

from dmd.types import IMAGE_CHANNELS, Images


def three_channels(images: Images) -> Float[Tensor, "batch 3 height width"]:
    """Grey images as grey ones with three channels; those that have three are left alone.

    Raises:
        ValueError: neither 1 nor 3 channels.
    """
    if images.shape[1] not in IMAGE_CHANNELS:
        raise ValueError(f"a network of photographs takes 1 or 3 channels, got {images.shape[1]}; use another one")
    return images if images.shape[1] == 3 else images.repeat(1, 3, 1, 1)
