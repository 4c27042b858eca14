"""How well the images of an evaluation fit the held-out prompts that they were drawn for."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from dmd.evaluate.noises import Noises
from dmd.evaluate.scores import CHUNK, over_sets
from dmd.evaluate.summaries import Summary


@dataclass(frozen=True)
class Alignment:
    """A score of images beside their prompts, with these prompts."""

    score: nn.Module
    """Images and as many texts → one number a sample."""
    texts: Sequence[str]
    """The held-out prompts, in the order of their labels."""

    def over_sets(self, summaries: Sequence[Summary], noises: Sequence[Noises]) -> dict[str, float]:
        """`clip_score`, its spread and `clip_num_samples`: over the images that each set's summary kept."""
        found = [self._of_set(summary, part) for summary, part in zip(summaries, noises, strict=True)]
        return over_sets(found)

    def _of_set(self, summary: Summary, noises: Noises) -> dict[str, float]:
        texts = [self.texts[(noises.first + place) % len(self.texts)] for place in range(len(summary.images))]
        parts = [
            self.score(images, texts[start : start + CHUNK])
            for start, images in zip(range(0, len(texts), CHUNK), summary.images.split(CHUNK), strict=True)
        ]
        return {"clip_score": torch.cat(parts).mean().item(), "clip_num_samples": len(texts)}
