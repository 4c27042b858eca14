r"""The codec: between images and the latents that a network is trained on.

`z = scale (E(x) - shift)` and `x = D(z / scale + shift)` (Rombach et al. 2022, arXiv 2112.10752, section 4.3.2 and
appendix D.1), with diffusers' `scaling_factor` and `shift_factor`. Of a network of pixels, an image is its own latent.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, ModelMixin, VQModel
from torch import nn
from torch.nn import functional

from dmd.models.backbones import load_network
from dmd.runtime.handed import read_json
from dmd.types import Images, Labels, Latents, Model, PerSample

AUTOENCODERS: dict[str, type[ModelMixin]] = {kind.__name__: kind for kind in (AutoencoderKL, VQModel)}
"""Those that are known, by their class name in `config.json`."""

ENCODERS: dict[str, Callable[[Any, Images], Latents]] = {
    "AutoencoderKL": lambda network, x: network.encode(x, return_dict=False)[0].mode(),
    "VQModel": lambda network, x: network.encode(x, return_dict=False)[0],
}
"""E by class name: the mean of the posterior, or what is not yet quantised."""

FOLDER = "codec"
"""Where the autoencoder lies in a teacher's folder."""


CHUNK = 2**21
"""Pixels that are decoded at once where no gradient is wanted: eight images of 512², which take gigabytes."""


class Codec(nn.Module):
    """Of pixels: nothing is done to an image."""

    def __init__(self, latent_shape: Sequence[int]) -> None:
        """Take the shape of an image."""
        super().__init__()
        self.latent_shape = tuple(latent_shape)

    @property
    def decoded_shape(self) -> tuple[int, ...]:
        """Of what a stock pipeline draws: an image, with what was padded."""
        return self.latent_shape

    def encode(self, x: Images) -> Latents:
        """Latents of images."""
        return x

    def decode(self, z: Latents) -> Images:
        """Images of latents."""
        return z

    def decoding(self, model: Model) -> Model:
        """A model of latents as one of images."""
        return model

    def comparing(self, distance: nn.Module) -> nn.Module:
        """A distance of images as one of latents."""
        return distance


class LatentCodec(Codec):
    """An autoencoder of diffusers, frozen, for images of one shape.

    Sides that autoencoder and network cannot divide are padded before E, by their edges, and what was padded is cut off
    after D.
    """

    def __init__(self, autoencoder: ModelMixin, image_shape: Sequence[int], multiple: int = 1) -> None:
        """Take an autoencoder with its scale, and the shape of images: channels, height, width.

        `multiple` is what the sides of the latents must be one of (`multiple_of`).
        """
        config = dict(autoencoder.config)
        super().__init__(latent_shape(config, image_shape, multiple))
        self.autoencoder = autoencoder.requires_grad_(False).eval()
        self.scale, self.shift = float(config["scaling_factor"]), float(config.get("shift_factor") or 0)
        self._encode = ENCODERS[type(autoencoder).__name__]
        channels, self._height, self._width = image_shape
        self._padding = self._left, right, self._top, bottom = padding(config, image_shape, multiple)
        self._decoded_shape = (channels, self._top + self._height + bottom, self._left + self._width + right)

    @property
    def decoded_shape(self) -> tuple[int, ...]:
        """Channels, and sides that autoencoder and network can divide."""
        return self._decoded_shape

    def encode(self, x: Images) -> Latents:
        """`z = scale (E(x) - shift)`; no noise of the posterior is drawn."""
        if any(self._padding):
            x = functional.pad(x, self._padding, mode="replicate")
        return self.scale * (self._encode(self.autoencoder, x) - self.shift)

    def decode(self, z: Latents) -> Images:
        """`x = D(z / scale + shift)`, without what was padded; in parts where no gradient is wanted."""
        size = len(z) if torch.is_grad_enabled() else max(1, CHUNK // (self._decoded_shape[1] * self._decoded_shape[2]))
        return torch.cat([self._decoded(part) for part in z.split(size)]) if len(z) > size else self._decoded(z)

    def _decoded(self, z: Latents) -> Images:
        x = self.autoencoder.decode(z / self.scale + self.shift, return_dict=False)[0]
        return x[..., self._top : self._top + self._height, self._left : self._left + self._width]

    def decoding(self, model: Model) -> Model:
        """The model's latents, decoded."""

        def draw(z: Latents, labels: Labels | None) -> Images:
            return self.decode(model(z, labels))

        return draw

    def comparing(self, distance: nn.Module) -> nn.Module:
        """The distance of what latents are decoded to."""
        return DecodedDistance(self, distance)


class DecodedDistance(nn.Module):
    """A distance of images, between latents."""

    def __init__(self, codec: Codec, distance: nn.Module) -> None:
        """Take both."""
        super().__init__()
        self.codec, self.distance = codec, distance

    def forward(self, x: Images, y: Images) -> PerSample:
        """`d(D(x), D(y))`, one number a sample."""
        return self.distance(self.codec.decode(x), self.codec.decode(y))


def halvings(config: Mapping[str, Any]) -> int:
    """By how much an autoencoder's latents are smaller than its images, height and width alike."""
    return int(2 ** (len(config["block_out_channels"]) - 1))


def multiple_of(network: Mapping[str, Any]) -> int:
    """What the sides of a network's input are a multiple of, by its config: a DiT's patches, a U-Net's halvings."""
    patch, levels = network.get("patch_size"), network.get("block_out_channels")
    if isinstance(patch, int):
        return max(patch, 1)
    return int(2 ** (len(levels) - 1)) if isinstance(levels, list | tuple) and levels else 1


def padding(config: Mapping[str, Any], image_shape: Sequence[int], multiple: int) -> tuple[int, int, int, int]:
    """What images of `image_shape` lack left, right, at the top and the bottom, by an autoencoder's config."""
    factor, (_, height, width) = halvings(config) * multiple, image_shape
    down, across = -height % factor, -width % factor
    return across // 2, across - across // 2, down // 2, down - down // 2


def latent_shape(config: Mapping[str, Any], image_shape: Sequence[int], multiple: int) -> tuple[int, int, int]:
    """Channels, height and width of the latents of images of `image_shape`, by an autoencoder's config."""
    factor, (_, height, width) = halvings(config), image_shape
    rows, columns = (multiple * -(-size // (factor * multiple)) for size in (height, width))
    return config.get("vq_embed_dim") or config["latent_channels"], rows, columns


def load_autoencoder(folder: Path) -> ModelMixin:
    """The autoencoder of a folder with `config.json` and `diffusion_pytorch_model.safetensors`, on the CPU.

    Raises:
        ValueError: it is of a class that is not one of `AUTOENCODERS`, or the weights do not fit or are no numbers.
    """
    return load_network(folder, AUTOENCODERS)


def build_codec(autoencoder: ModelMixin | None, image_shape: Sequence[int], network: Mapping[str, Any]) -> Codec:
    """The codec of an autoencoder, or of pixels where there is none, for images that a network of this config makes."""
    return Codec(image_shape) if autoencoder is None else LatentCodec(autoencoder, image_shape, multiple_of(network))


def load_codec(teacher: Path, image_shape: Sequence[int]) -> Codec:
    """The codec of a teacher's folder: of pixels where it has none of its own.

    Raises:
        ValueError: there is one and it is broken; names it.
    """
    folder = teacher / FOLDER
    if not folder.is_dir():
        return Codec(image_shape)
    return build_codec(load_autoencoder(folder), image_shape, read_json(teacher / "config.json"))
