"""Encoded prompts: what a text-to-image network is told in place of classes, as rows of one table."""

from typing import Any

import torch
from torch import Tensor

from dmd.types import Encoded, Labels


class Prompts:
    """A label is a row: 0 … N-1 are prompts to train on, N is the null prompt, and from N + 1 on they are held out.

    The tables stay where they are, as they may be mapped from a file: only rows that are asked for enter memory.
    Copies of a denoiser share them.
    """

    def __init__(self, train: Tensor, null: Tensor | None, held_out: Tensor) -> None:
        """Take [N, L, D], one row or none, and [M, L, D]: the outputs of a text encoder for L tokens.

        Raises:
            ValueError: their tokens or widths differ, or there is not one null prompt.
        """
        tables = [table for table in (train, null, held_out) if table is not None]
        if len({table.shape[1:] for table in tables}) > 1 or (null is not None and len(null) != 1):
            raise ValueError(f"encoded prompts of shapes {[list(table.shape) for table in tables]} are not one table")
        self.train, self.null, self.held_out = train, null, held_out

    def __deepcopy__(self, memo: dict[int, Any]) -> "Prompts":
        """Itself: nothing changes it."""
        return self

    @property
    def count(self) -> int:
        """N; the row of the null prompt too."""
        return len(self.train)

    @property
    def first_held_out(self) -> int:
        """The first of the rows that nothing was trained on."""
        return self.count + 1

    def at(self, labels: Labels) -> Encoded:
        """The rows [B, L, D], on the labels' device.

        Raises:
            ValueError: one is no row, or the null prompt's where there is none.
        """
        return torch.stack([self._row(label) for label in labels.tolist()]).to(labels.device)

    def _row(self, label: int) -> Tensor:
        if 0 <= label < self.count:
            return self.train[label]
        if label == self.count and self.null is not None:
            return self.null[0]
        if 0 <= label - self.first_held_out < len(self.held_out):
            return self.held_out[label - self.first_held_out]
        raise ValueError(
            f"label {label} is no prompt: there are {self.count} to train on, {0 if self.null is None else 1} null and "
            f"{len(self.held_out)} held out"
        )


def evaluated_labels(prompts: Prompts | None, num_classes: int | None) -> tuple[int | None, int]:
    """How many labels an evaluation draws from, and the first: the held-out prompts, or all classes; None for none."""
    return (num_classes, 0) if prompts is None else (len(prompts.held_out), prompts.first_held_out)
