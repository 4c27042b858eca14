"""The evaluation of several models: each drawn from the same sets of noises and held against the same real images."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial, reduce

import torch
from torch import nn

from dmd.evaluate.frechet import Moments, frechet_distance
from dmd.evaluate.noises import Noises
from dmd.evaluate.scores import diversity, over_sets, perceptual_distance, perceptual_stem
from dmd.evaluate.setup import Setup
from dmd.evaluate.summaries import Summary, summarise_model, summarise_pixels
from dmd.types import Labels, Model, Pixels

Keep = Callable[[Noises, Callable[[], Summary]], Summary]
"""From a set of noises, and what computes its summary, to the summary."""


@dataclass(frozen=True)
class Evaluator:
    """The set-up of a system, with a perceptual distance and several disjoint sets of noises."""

    setup: Setup
    perceptual: nn.Module
    """Two batches of images → one distance a sample."""
    perceptual_name: str
    num_sets: int
    """Disjoint sets of noises, of the same size."""

    @cached_property
    def noises(self) -> list[Noises]:
        """The sets."""
        return self.setup.noises.sets(self.num_sets)

    def draw(self, model: Model, title: str, keep: Keep = lambda noises, compute: compute()) -> list[Summary]:
        """Sum up the model's images of each set of noises; `keep` may know a set's summary from before."""
        net, size = self.setup.net, self.setup.batch_size
        return [
            keep(noises, partial(summarise_model, net, model, noises, size, f"{title} {k + 1}/{self.num_sets}"))
            for k, noises in enumerate(self.noises)
        ]

    def split(self, pixels: Pixels, labels: Labels | None) -> list[Summary]:
        """Sum up real images in as many disjoint random sets, of the same size; in fewer where there are too few."""
        setup, count = self.setup, self.setup.noises.count
        sets = min(self.num_sets, max(len(pixels) // count, 1))
        size = min(count, len(pixels))
        order = torch.randperm(len(pixels), generator=torch.Generator().manual_seed(setup.seed))
        return [
            summarise_pixels(
                setup.net,
                pixels[rows],
                None if labels is None else labels[rows],
                setup.batch_size,
                setup.noises.device,
            )
            for rows in order[: sets * size].split(size)
        ]

    def score(self, summaries: Sequence[Summary], teacher: Sequence[Summary] | None = None) -> dict[str, float]:
        """Mean and spread of all scores over the sets; `teacher` adds the distances to it from the same noises.

        Each set draws subsets of its own, of the real images too: shared ones would hide a part of the spread. Where
        there are several sets, the Fréchet distance of all their samples together is added, as `…_merged`.
        """
        stem, scores = perceptual_stem(self.perceptual_name), []
        for k, summary in enumerate(summaries):
            entry = self.setup.score(summary, k)
            entry[f"{stem}_diversity"] = diversity(summary.images, self.perceptual, self.setup.seed + k)
            entry[f"{stem}_num_samples"] = len(summary.images)
            if teacher is not None:
                other = teacher[k]
                entry["fd_to_teacher"] = frechet_distance(summary.moments, other.moments)
                entry[f"{stem}_to_teacher"] = perceptual_distance(summary.images, other.images, self.perceptual)
            scores.append(entry)
        merged = over_sets(scores)
        if len(summaries) > 1:
            together = reduce(Moments.merge, (summary.moments for summary in summaries))
            distance = frechet_distance(together, self.setup.train.moments)
            merged |= {f"{self.setup.distance}_merged": distance, "num_samples_merged": together.count}
        return merged
