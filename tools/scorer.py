"""Scores of one model after the other, as the stage `evaluate` takes them: its feature net, real images and noises."""

from functools import partial
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from dmd.params.config import Config
from dmd.datasets.registry import load_dataset
from dmd.features.feature_net import load_features
from dmd.evaluate.latency import Model
from dmd.evaluate.noises import Noises
from dmd.evaluate.summary_cache import cached
from dmd.evaluate.scores import distance_name, score
from dmd.evaluate.spread import over_sets
from dmd.evaluate.summaries import Summary, summarise, summarise_model, summarise_pixels
from dmd.types import Images, Labels

SETS = 3
"""Disjoint sets of noises, for the spread."""

Scores = list[dict[str, Any]]


class Scorer:
    """The feature net, the summary of the real images and the noises of a system."""

    def __init__(self, config: Config, samples: int) -> None:
        """Read what `fetch` left for the params; `samples` from the evaluation's noises are drawn of each model."""
        self.device = Accelerator().device
        self.batch_size, self.features, self.seed = config.evaluate.batch_size, config.evaluate.features, config.seed
        data = Path("data", config.system)
        self.net = load_features(data / "weights" / "features").to(self.device)
        pixels, labels = load_dataset(config.dataset.name, data / "dataset", "train")
        compute = partial(
            summarise_pixels, self.net, pixels, labels, self.batch_size, self.device, max_kept=len(pixels)
        )
        named = {"name": "train", "dataset": config.dataset.model_dump(mode="json")}
        inputs = [data / "dataset", data / "weights" / "features"]
        self.real = cached(inputs, named, self.device, compute)
        shape, classes = config.dataset.image_shape, config.dataset.num_classes
        self.noises = Noises(config.seed, samples, shape, classes, self.device)

    def score_sets(self, model: Model, title: str, noises: Noises | None = None, num_sets: int = SETS) -> Scores:
        """Draw from disjoint sets of noises, behind a progress bar named `title`; the scores of each set."""
        summaries = (
            summarise_model(self.net, model, part, self.batch_size, title)
            for part in (noises or self.noises).sets(num_sets)
        )
        return [self.score(summary, k) for k, summary in enumerate(summaries)]

    def score_model(self, model: Model, title: str) -> dict[str, Any]:
        """Means over the sets, with the standard deviation of the distance."""
        return self._over_sets(self.score_sets(model, title))

    def score_drawn(self, images: Images, labels: Labels | None, samples: int) -> dict[str, Any]:
        """The same of images that are there, in sets of `samples`."""
        sets = []
        for k, start in enumerate(range(0, len(images), samples)):
            places = range(start, start + samples, self.batch_size)
            slices = [slice(place, min(place + self.batch_size, start + samples)) for place in places]
            batches = ((images[part], None if labels is None else labels[part]) for part in slices)
            sets.append(self.score(summarise(self.net, batches, samples), k))
        return self._over_sets(sets)

    def _over_sets(self, sets: Scores) -> dict[str, Any]:
        found, distance = over_sets(sets), distance_name(self.features)
        kept = {name: value for name, value in found.items() if not name.endswith("_std") or name == f"{distance}_std"}
        first = {name: kept.pop(name) for name in (distance, f"{distance}_std") if name in kept}
        return first | kept

    def score(self, summary: Summary, k: int = 0) -> dict[str, Any]:
        """The scores of set `k`'s summary that the tables show, by name; each set draws its own subsets for the KID."""
        found = score(summary, self.real, self.features, self.seed + k)
        distances = (distance_name(self.features), f"kid_{self.features}")
        names = (*distances, "precision", "recall", "class_accuracy", "num_samples")
        return {name: found[name] for name in names if name in found}
