"""Datasets put in place: from verified downloads, or from images that people have, to `data/<system>/dataset`."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from dmd.fetch import sources
from dmd.fetch.celeba import find_celeba
from dmd.fetch.downloads import place
from dmd.fetch.image_files import ImageFile, divide, find_splits, read_images, save_splits
from dmd.runtime.files import whole_folder
from dmd.types import Pixels

NUM_FACES = 100
"""The first so many of scikit-image's subset are faces."""

ImageFiles = Mapping[str, Sequence[ImageFile]]


def find_images(name: str, folder: str | None, downloads: Path) -> ImageFiles | None:
    """Images that must lie there already, by split; None for a dataset that is downloaded.

    Raises:
        ValueError: they are not there or not whole; says what must be put where.
    """
    if name == "celeba":
        return find_celeba(Path(folder) if folder else downloads / "celeba")
    return find_splits(Path(folder or "")) if name == "image_folder" else None


def place_dataset(name: str, images: ImageFiles | None, image_shape: Sequence[int], downloads: Path, out: Path) -> None:
    """Fill the folder `out`, whole or not at all: the originals, or a safetensors file a split.

    Raises:
        DownloadError: `downloads` does not hold the original.
        ValueError: an image cannot be read.
    """
    with whole_folder(out) as part:
        if images is not None:
            save_splits(part, {split: read_images(paths, image_shape) for split, paths in images.items()})
        elif name == "lfw-faces":
            place(sources.LFW_FACES, downloads, part / sources.LFW_FACES.name)
            faces = read_faces(part / sources.LFW_FACES.name, image_shape)
            save_splits(part, {split: faces[rows] for split, rows in divide(range(len(faces))).items()})
            (part / sources.LFW_FACES.name).unlink()
        elif (source := sources.dataset(name, mirrors=())) is not None:
            for original in source.originals:
                place(original, downloads / source.folder, part / original.name)


def read_faces(path: Path, image_shape: Sequence[int]) -> Pixels:
    """The faces of `lfw_subset.npy`, 25 by 25 in [0, 1], enlarged bilinearly: uint8 [100, C, H, W], channels equal.

    Raises:
        ValueError: the file holds something else.
    """
    faces = np.load(path, allow_pickle=False)[:NUM_FACES]
    if faces.shape != (NUM_FACES, 25, 25):
        raise ValueError(f"{path}: holds {list(faces.shape)}, not {NUM_FACES} faces of 25 by 25; fetch it again")
    channels, height, width = image_shape
    grey = torch.from_numpy(faces).float().unsqueeze(1)
    resized = functional.interpolate(grey, (height, width), mode="bilinear", antialias=True, align_corners=False)
    return (resized.clamp(0, 1) * 255).round().to(torch.uint8).expand(-1, channels, -1, -1).contiguous()
