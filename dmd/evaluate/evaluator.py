"""The evaluation of several models: each drawn from the same sets of noises and held against the same real images."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial, reduce

import torch
from torch import nn

from dmd.evaluate.frechet import Moments, frechet_distance
from dmd.evaluate.latency import Model
from dmd.evaluate.noises import Noises
from dmd.evaluate.scores import distance_name, diversity, perceptual_distance, perceptual_stem, score
from dmd.evaluate.spread import over_sets
from dmd.evaluate.summaries import Summary, summarise_model, summarise_pixels
from dmd.types import Labels, Pixels

Keep = Callable[[Noises, Callable[[], Summary]], Summary]
"""From a set of noises, and what computes its summary, to the summary."""


@dataclass(frozen=True)
class Evaluator:
    """The feature net, the real images, the perceptual distance and the noises of an evaluation."""

    net: nn.Module
    """Images in [-1, 1] → (features, logits or None)."""
    features: str
    """The net's name, as scores carry it."""
    train: Summary
    """Of the real training images, with the features of all."""
    perceptual: nn.Module
    """Two batches of images → one distance a sample."""
    perceptual_name: str
    noises: Sequence[Noises]
    """Disjoint sets of the same size."""
    batch_size: int

    def draw(self, model: Model, title: str, keep: Keep = lambda noises, compute: compute()) -> list[Summary]:
        """Sum up the model's images of each set of noises; `keep` may know a set's summary from before."""
        number = len(self.noises)
        return [
            keep(
                noises, partial(summarise_model, self.net, model, noises, self.batch_size, f"{title} {k + 1}/{number}")
            )
            for k, noises in enumerate(self.noises)
        ]

    def split(self, pixels: Pixels, labels: Labels | None) -> list[Summary]:
        """Sum up real images in as many disjoint random sets, of the same size; in fewer where there are too few."""
        first = self.noises[0]
        sets = min(len(self.noises), max(len(pixels) // first.count, 1))
        size = min(first.count, len(pixels))
        order = torch.randperm(len(pixels), generator=torch.Generator().manual_seed(first.seed))
        parts = order[: sets * size].split(size)
        device = first.device
        return [
            summarise_pixels(self.net, pixels[rows], None if labels is None else labels[rows], self.batch_size, device)
            for rows in parts
        ]

    def score(self, summaries: Sequence[Summary], teacher: Sequence[Summary] | None = None) -> dict[str, float]:
        """Mean and spread of all scores over the sets; `teacher` adds the distances to it from the same noises.

        Each set draws subsets of its own, of the real images too: shared ones would hide a part of the spread. Where
        there are several sets, the Fréchet distance of all their samples together is added, as `…_merged`.
        """
        stem, scores = perceptual_stem(self.perceptual_name), []
        for k, summary in enumerate(summaries):
            seed = self.noises[0].seed + k
            entry = score(summary, self.train, self.features, seed)
            entry[f"{stem}_diversity"] = diversity(summary.images, self.perceptual, seed)
            entry[f"{stem}_num_samples"] = len(summary.images)
            if teacher is not None:
                other = teacher[k]
                entry["fd_to_teacher"] = frechet_distance(summary.moments, other.moments)
                entry[f"{stem}_to_teacher"] = perceptual_distance(summary.images, other.images, self.perceptual)
            scores.append(entry)
        merged = over_sets(scores)
        if len(summaries) > 1:
            together = reduce(Moments.merge, (summary.moments for summary in summaries))
            distance = frechet_distance(together, self.train.moments)
            merged |= {f"{distance_name(self.features)}_merged": distance, "num_samples_merged": together.count}
        return merged
