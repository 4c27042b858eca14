"""The fixed noises that every model is scored on, each known by its index."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from dmd.datasets.labels import balanced_labels
from dmd.diffusion.rng import Stream, sample_noise
from dmd.types import Images, Labels

Batch = tuple[Images, Labels | None]
"""Images or noise, with labels where there are classes."""


@dataclass(frozen=True)
class Noises:
    """A set of them: `(seed, EVALUATION, index)` for `count` indices from `first`, label `index % num_classes`."""

    seed: int
    count: int
    shape: tuple[int, ...]
    num_classes: int | None
    device: torch.device
    first: int = 0
    first_label: int = 0
    """Above 0 where labels are held-out prompts."""

    def at(self, index: Labels) -> Batch:
        """Noise and labels of any indices, counted from 0 whatever `first` is, on the device."""
        z = sample_noise(self.seed, index, self.shape, Stream.EVALUATION).to(self.device)
        labels = balanced_labels(index, self.num_classes, self.first_label)
        return z, None if labels is None else labels.to(self.device)

    def classes(self, labels: Labels | None) -> Labels | None:
        """Labels where they are classes, which a feature net may know; none of prompts."""
        return None if self.first_label else labels

    def batch(self, start: int, stop: int) -> Batch:
        """Those of this set's places `start … stop - 1`, cut at `count`."""
        return self.at(self.first + torch.arange(start, min(stop, self.count)))

    def batches(self, batch_size: int) -> Iterator[Batch]:
        """All of the set, in order."""
        for start in range(0, self.count, batch_size):
            yield self.batch(start, start + batch_size)

    def sets(self, num_sets: int) -> list["Noises"]:
        """Disjoint sets of the same size: set k has the indices `first + k · count … first + (k + 1) · count - 1`."""
        return [replace(self, first=self.first + k * self.count) for k in range(num_sets)]
