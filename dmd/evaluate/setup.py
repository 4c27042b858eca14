"""What every evaluation of a system stands on: its feature net, its real images summed up, its noises."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import nn

from dmd.datasets.registry import load_dataset
from dmd.diffusion.prompts import evaluated_labels
from dmd.evaluate.noises import Noises
from dmd.evaluate.scores import distance_name, over_sets, score
from dmd.evaluate.summaries import Summary, summarise_pixels
from dmd.evaluate.summary_cache import cached
from dmd.features.feature_net import load_features
from dmd.models.codec import Codec, load_codec
from dmd.models.text import load_prompts
from dmd.params.dataset import Dataset
from dmd.params.sampling import Evaluate
from dmd.runtime.places import Places
from dmd.types import Pixels


@dataclass(frozen=True)
class Setup:
    """The feature net, the real training images and the noises that models are scored on."""

    net: nn.Module
    """Images in [-1, 1] → (features, logits or None)."""
    features: str
    """The net's name, as scores carry it."""
    pixels: Pixels
    """The real training images."""
    train: Summary
    """Of the real training images, with the features of all."""
    noises: Noises
    """The first set; `noises.sets(n)` are n disjoint ones."""
    batch_size: int
    """Images a network call."""
    seed: int
    """Draws the subsets of the kernel distance, the pairs of the diversity and the real images of a set."""
    codec: Codec
    """What turns the models' latents into images; of pixels, nothing."""

    @classmethod
    def load(
        cls,
        places: Places,
        dataset: Dataset,
        settings: Evaluate,
        seed: int,
        device: torch.device,
        teacher: Path | None = None,
    ) -> "Setup":
        """Read what `fetch` and `teacher` left; the real images are summed up once and read again later.

        `teacher` is a folder in place of the system's own.
        """
        weights, size, teacher = places.weights("features"), settings.batch_size, teacher or places.teacher
        net = load_features(weights).to(device)
        pixels, labels = load_dataset(dataset.name, places.dataset, "train")
        compute = partial(summarise_pixels, net, pixels, labels, size, device, max_kept=len(pixels))
        named = {"name": "train", "dataset": dataset.model_dump(mode="json")}
        train = cached([places.dataset, weights], named, device, compute)
        codec = load_codec(teacher, dataset.image_shape).to(device)
        count, first = evaluated_labels(load_prompts(teacher), dataset.num_classes)
        noises = Noises(seed, settings.num_samples, codec.latent_shape, count, device, first_label=first)
        return cls(net, settings.features, pixels, train, noises, size, seed, codec)

    @property
    def distance(self) -> str:
        """The name of the Fréchet distance in the net's features."""
        return distance_name(self.features)

    def score(self, summary: Summary, k: int = 0) -> dict[str, float]:
        """The scores of set `k`'s summary by name; each set draws its own subsets of the real images too."""
        return score(summary, self.train, self.features, self.seed + k)


def mean_scores(sets: list[dict[str, float]], distance: str) -> dict[str, float]:
    """Means over the sets as tables show them: the distance first, with the one standard deviation that is kept."""
    found = over_sets(sets)
    kept = {name: value for name, value in found.items() if not name.endswith("_std") or name == f"{distance}_std"}
    first = {name: kept.pop(name) for name in (distance, f"{distance}_std") if name in kept}
    return first | kept
