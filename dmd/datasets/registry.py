"""Datasets: the real images by name, each with its reader of what `fetch` put into `data/<system>/dataset`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from dmd.datasets.cifar10 import CLASSES, SHAPE, load_cifar10
from dmd.datasets.mnist import load_mnist
from dmd.runtime.handed import read_tensors
from dmd.types import IMAGE_CHANNELS, Images, Labels, Pixels

Split = Literal["train", "test"]


@dataclass(frozen=True)
class Kind:
    """What is known of a dataset before its files are read."""

    load: Callable[[Path, Split], tuple[Pixels, Labels | None]]
    """From folder and split to pixels 0 … 255, uint8 [N, C, H, W], and labels [N] where there are classes."""
    image_shape: tuple[int, int, int] | None
    """Channels, height and width; none where `fetch` resizes the images to the params' `image_shape`."""
    num_classes: int | None
    """Number of classes."""


def load_tensor_file(folder: Path, split: Split) -> tuple[Pixels, Labels | None]:
    """Read `<split>.safetensors`, which holds `pixels` and, where there are classes, `labels`.

    Raises:
        HandedError: the file is missing or holds no images; names it.
    """
    tensors = read_tensors(Path(folder) / f"{split}.safetensors", {"pixels": 4})
    return tensors["pixels"], tensors.get("labels")


DATASETS = {
    "mnist": Kind(load_mnist, (1, 28, 28), 10),
    "fashion_mnist": Kind(load_mnist, (1, 28, 28), 10),
    "cifar10": Kind(load_cifar10, SHAPE, CLASSES),
    "celeba": Kind(load_tensor_file, None, None),
    "image_folder": Kind(load_tensor_file, None, None),
    "lfw-faces": Kind(load_tensor_file, None, None),
}
"""Every dataset by the name in `dataset.name`."""


def check_dataset(name: str, image_shape: Sequence[int], num_classes: int | None) -> None:
    """Hold the params against what the dataset is.

    Raises:
        ValueError: another shape or number of classes; names key, value and cure.
    """
    kind = DATASETS[name]
    if kind.image_shape is not None and kind.image_shape != tuple(image_shape):
        raise ValueError(
            f"dataset.image_shape {list(image_shape)}: {name} has images of {list(kind.image_shape)}; set it so"
        )
    if image_shape[0] not in IMAGE_CHANNELS:
        raise ValueError(f"dataset.image_shape {list(image_shape)}: pictures have 1 channel (grey) or 3 (RGB)")
    if num_classes not in (None, kind.num_classes):
        raise ValueError(
            f"dataset.num_classes {num_classes}: {name} has {kind.num_classes or 'none'}; "
            "set it so, or null for no labels"
        )


def load_dataset(name: str, folder: Path, split: Split) -> tuple[Pixels, Labels | None]:
    """Read one split of a dataset that `fetch` put into `folder`.

    Returns:
        Pixels 0 … 255, uint8 [N, C, H, W], and labels, int64 [N]; None where the dataset has no classes.

    Raises:
        ValueError: an unknown split, or a file that is missing or wrong; names it.
    """
    if split not in ("train", "test"):
        raise ValueError(f"split {split!r} is unknown; take train or test")
    return DATASETS[name].load(folder, split)


def to_pixels(images: Images) -> Pixels:
    """The inverse of `to_images`, cut to the range and rounded: [-1, 1] to 0 … 255, [B, C, H, W]."""
    return ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def to_images(pixels: Pixels) -> Images:
    """`x = pixel / 127.5 - 1`: 0 … 255 to [-1, 1], uint8 to float32, [B, C, H, W]."""
    return pixels.float() / 127.5 - 1
