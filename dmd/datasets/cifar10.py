"""CIFAR-10 (Krizhevsky 2009) in its binary version: batches of 10,000 rows of one label and 3072 values.

A row's values are the 32×32 red ones, then green, then blue, row by row from the top.
"""

import json
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image

from dmd.types import Labels, Pixels

BATCHES = {"train": tuple(f"data_batch_{number}.bin" for number in range(1, 6)), "test": ("test_batch.bin",)}
"""Files of each split."""

SHAPE = (3, 32, 32)
CLASSES = 10
ROWS = 10_000
LABELS = {"train": "train_lables.json", "test": "test_lables.json"}
"""Files of labels beside the pictures that `rebuild` reads; the spelling is theirs."""


def load_cifar10(folder: Path, split: Literal["train", "test"]) -> tuple[Pixels, Labels]:
    """Read the batches of a split.

    Returns:
        Pixels 0 … 255, uint8 [N, 3, 32, 32], and labels 0 … 9, int64 [N]: 50,000 of `train`, 10,000 of `test`.

    Raises:
        ValueError: a file is missing, of another length, or has a label above 9; names the file.
    """
    width = 1 + int(np.prod(SHAPE))
    tables = []
    for path in (Path(folder) / name for name in BATCHES[split]):
        if not path.is_file():
            raise ValueError(f"{path}: no such file; run fetch")
        values = np.fromfile(path, np.uint8)
        if len(values) != ROWS * width:
            raise ValueError(f"{path}: {len(values)} bytes, not {ROWS} rows of {width}; fetch it again")
        tables.append(values.reshape(ROWS, width))
        if tables[-1][:, 0].max() >= CLASSES:
            raise ValueError(f"{path}: label {tables[-1][:, 0].max()} is above 9; fetch it again")
    table = torch.from_numpy(np.concatenate(tables))
    return table[:, 1:].reshape(-1, *SHAPE).contiguous(), table[:, 0].long()


def rebuild(folder: Path) -> None:
    """Write the binary batches from pictures of them: `<batch>.png`, 1024 by 10,000, a row an image, and their labels.

    Raises:
        ValueError: a picture or its labels are missing or of another size; names the file.
    """
    for split, names in BATCHES.items():
        try:
            labels = np.asarray(json.loads((folder / LABELS[split]).read_text(encoding="utf-8")), np.uint8)
            parts = labels.reshape(len(names), ROWS)
        except (OSError, ValueError, TypeError, OverflowError) as error:
            raise ValueError(f"{LABELS[split]}: no list of {len(names) * ROWS} labels: {error}") from error
        for name, part in zip(names, parts, strict=True):
            picture = (folder / name).with_suffix(".png")
            try:
                with Image.open(picture) as opened:
                    pixels = np.asarray(opened.convert("RGB"))
                planes = pixels.reshape(ROWS, 1024, 3).transpose(0, 2, 1).reshape(ROWS, 3072)
            except Exception as error:  # Pillow's readers let through whatever the bytes make them raise
                raise ValueError(f"{picture.name}: no picture of 1024 by {ROWS}: {error}") from error
            (folder / name).write_bytes(np.concatenate([part[:, None], planes], axis=1).tobytes())
