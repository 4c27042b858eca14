"""MNIST and Fashion-MNIST (Xiao et al. 2017, arXiv 1708.07747), as their idx files lie on disk."""

import math
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from dmd.types import Labels, Pixels

PREFIXES = {"train": "train", "test": "t10k"}
"""First part of the file names, by split."""

SIZE = (28, 28)
"""Height and width."""

NUM_CLASSES = 10


def load_mnist(folder: Path, split: Literal["train", "test"]) -> tuple[Pixels, Labels]:
    """Read the uncompressed idx files of MNIST or of what has its form.

    Args:
        folder: holds `{train,t10k}-images-idx3-ubyte` and `{train,t10k}-labels-idx1-ubyte`.
        split: `train` or `test`.

    Returns:
        Pixels 0 … 255, uint8 [N, 1, 28, 28], and labels 0 … 9, int64 [N].

    Raises:
        ValueError: a file is missing, cut, of another format, or the two do not fit; names the file.
    """
    if split not in PREFIXES:
        raise ValueError(f"split {split!r} is unknown; take train or test")
    images_path = Path(folder) / f"{PREFIXES[split]}-images-idx3-ubyte"
    labels_path = Path(folder) / f"{PREFIXES[split]}-labels-idx1-ubyte"
    pixels, labels = read_idx(images_path), read_idx(labels_path)
    if pixels.ndim != 3 or tuple(pixels.shape[1:]) != SIZE:
        raise ValueError(f"{images_path}: holds {list(pixels.shape)}, not images of 28 by 28; fetch it again")
    if labels.shape != pixels.shape[:1]:
        raise ValueError(f"{labels_path}: holds {list(labels.shape)} labels for {len(pixels)} images; fetch both again")
    if len(labels) and int(labels.max()) >= NUM_CLASSES:
        raise ValueError(f"{labels_path}: label {int(labels.max())} is above 9; fetch it again")
    return pixels.unsqueeze(1), labels.long()


def read_idx(path: Path) -> Tensor:
    """Read an idx file of unsigned bytes.

    The format: two zero bytes, 0x08 for unsigned bytes, the number of dimensions, each size as a big-endian 32-bit
    integer, then the values, last dimension fastest (Y. LeCun's page of MNIST, "the IDX file format").

    Raises:
        ValueError: the file is missing, is no such file, or is longer or shorter than its header says.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror}); run fetch") from error
    if len(content) < 4 or content[:3] != b"\x00\x00\x08" or len(content) < 4 + 4 * content[3]:
        raise ValueError(f"{path}: not an idx file of unsigned bytes, it starts with {content[:4]!r}; fetch it again")
    start = 4 + 4 * content[3]
    sizes = [int(size) for size in np.frombuffer(content[4:start], dtype=">u4")]
    if len(content) - start != math.prod(sizes):
        raise ValueError(f"{path}: {len(content) - start} values, but its header says {sizes}; fetch it again")
    return torch.frombuffer(bytearray(content), dtype=torch.uint8)[start:].reshape(sizes)
