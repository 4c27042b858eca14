"""What labels mean, wherever they stand: a class 0 … K-1, the null class K in a network, NO_LABEL in a file.

Of a text-to-image system they are rows of `dmd.diffusion.prompts`.
"""

from collections.abc import Sequence

import torch

from dmd.types import Labels

NO_LABEL = -1
"""In a file: the image has no label."""


def balanced_labels(indices: Sequence[int] | Labels, num_classes: int | None, first: int = 0) -> Labels | None:
    """Class `index mod num_classes` for each index, counted from `first`; none for an unconditional model."""
    return None if num_classes is None else first + torch.as_tensor(indices) % num_classes


def stored_labels(labels: Labels | None, count: int) -> Labels:
    """The labels of `count` images as a file holds them: NO_LABEL where there are none."""
    return torch.full((count,), NO_LABEL) if labels is None else labels
