"""Image files as one tensor: cropped about the centre, shrunk with antialiasing, and divided into train and test."""

import logging
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from accelerate.utils import tqdm
from PIL import ExifTags, Image

from dmd.fetch.pointers import START as POINTER
from dmd.runtime.files import save_tensors
from dmd.runtime.folders import files_below
from dmd.types import Pixels

logger = logging.getLogger(__name__)

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
"""What counts as an image."""

Item = TypeVar("Item")

ImageFile = Path | zipfile.Path
"""A file of its own, or inside a zip file."""

TURNS: dict[object, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes a picture upright, by the value of `Orientation` (Exif 2.32, 4.6.4)."""

HELD_OUT = 5
"""Where a set has no test split, every fifth image in the order of the names is held out."""

SMALLEST = 20
"""Images of a split: the kernel distance takes ten subsets of two or more."""


def read_images(paths: Sequence[ImageFile], image_shape: Sequence[int]) -> Pixels:
    """Read images as uint8 [N, C, H, W]: grey for one channel, else RGB.

    Each is cropped about its centre to the shape's aspect ratio (a 178 by 218 CelebA face to 178 by 178), then resized
    by Pillow's bilinear filter, which averages over the whole support of a pixel when it shrinks.

    Raises:
        ValueError: a file is no image, or its values have no known range; names it.
    """
    channels, height, width = image_shape
    pixels = torch.empty((len(paths), channels, height, width), dtype=torch.uint8)
    for index, path in enumerate(tqdm(paths, "images", total=len(paths), unit="image")):
        try:
            fitted = _read(path, image_shape)
        except MemoryError:
            raise
        except Exception as error:  # Pillow's readers let through whatever the bytes make them raise
            what = " ".join(str(error).split()) or type(error).__name__
            raise ValueError(f"{path}: cannot be read as an image: {what:.300}; replace or remove it") from error
        pixels[index] = torch.from_numpy(np.array(fitted).reshape(height, width, channels)).permute(2, 0, 1)
    return pixels


def find_splits(folder: Path) -> dict[str, list[Path]]:
    """The images below `folder` in the order of their names, as `train` and `test`.

    Folders `train` and `test` in it, if both are there, are the splits; else every fifth image is held out.

    Raises:
        ValueError: there is no such folder, or a split has fewer than 20 images; says where to put them.
    """
    if not folder.is_dir():
        raise ValueError(f"dataset.folder {folder}: no such folder; name the one that holds the images")
    if all((folder / split).is_dir() for split in ("train", "test")):
        splits = {split: _images(folder / split) for split in ("train", "test")}
    else:
        splits = divide(_images(folder))
    for split, paths in splits.items():
        if len(paths) < SMALLEST:
            raise ValueError(
                f"dataset.folder {folder}: {len(paths)} images ({', '.join(SUFFIXES)}) for the {split} split, but it "
                f"needs at least {SMALLEST}; put more there"
            )
    return splits


def divide(items: Sequence[Item]) -> dict[str, list[Item]]:
    """Every fifth item is `test`, the others are `train`."""
    held = range(HELD_OUT - 1, len(items), HELD_OUT)
    return {
        "train": [item for index, item in enumerate(items) if index not in held],
        "test": [items[index] for index in held],
    }


def save_splits(folder: Path, splits: Mapping[str, torch.Tensor]) -> None:
    """Write `<split>.safetensors` with `pixels` for each split."""
    for split, pixels in splits.items():
        save_tensors(folder / f"{split}.safetensors", {"pixels": pixels})


def _read(path: ImageFile, image_shape: Sequence[int]) -> Image.Image:
    """One image of this shape; raises whatever Pillow does."""
    channels, height, width = image_shape
    with path.open("rb") as file:
        if file.read(len(POINTER)) == POINTER:
            raise ValueError("it is only a Git-LFS pointer; run `git lfs pull` in its repository")
        file.seek(0)
        with Image.open(file) as opened:
            upright = _eight_bits(_upright(opened)).convert("L" if channels == 1 else "RGB")
            return _centre(upright, height, width).resize((width, height), Image.Resampling.BILINEAR)


def _upright(picture: Image.Image) -> Image.Image:
    """A picture turned as its `Orientation` says, which alone of all metadata is wanted; broken ones say nothing.

    Pillow's `exif_transpose` writes the others anew, and fails where they are odd.
    """
    picture.load()
    try:
        turn = TURNS.get(picture.getexif().get(ExifTags.Base.Orientation))
    except Exception:  # as above
        turn = None
    return picture if turn is None else picture.transpose(turn)


def _eight_bits(picture: Image.Image) -> Image.Image:
    """A picture of 16-bit greys as one of 8 bits, 65535 to 255: Pillow's own conversion clips instead.

    Raises:
        TypeError: whole or real numbers of no known range.
    """
    if picture.mode in ("I", "F"):
        raise TypeError(f"its pixels are of Pillow's mode {picture.mode}, of no known range; save it with 8 bits")
    if not picture.mode.startswith("I;16"):
        return picture
    return Image.fromarray(np.round(np.asarray(picture) / 257).astype(np.uint8))


def _centre(picture: Image.Image, height: int, width: int) -> Image.Image:
    """The largest part about the centre that has the aspect ratio of `height` by `width`, in whole pixels."""
    factor = min(picture.width / width, picture.height / height)
    size = max(1, round(width * factor)), max(1, round(height * factor))
    left, top = (picture.width - size[0]) // 2, (picture.height - size[1]) // 2
    return picture.crop((left, top, left + size[0], top + size[1]))


def _images(folder: Path) -> list[Path]:
    files = files_below(folder)
    found = [path for path in files if path.suffix.lower() in SUFFIXES]
    others = sorted({path.suffix for path in files} - {path.suffix for path in found})
    if others:
        logger.warning("%s: %d files are passed over, of the endings %s", folder, len(files) - len(found), others)
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())
