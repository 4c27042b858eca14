"""Scores of one model after the other, as the stage `evaluate` takes them: its feature net, real images and noises."""

from pathlib import Path
from typing import Any

from dmd.commands.arguments import SETS
from dmd.commands.device import find_device
from dmd.evaluate.noises import Noises
from dmd.evaluate.setup import Setup, mean_scores
from dmd.evaluate.summaries import Summary, summarise, summarise_model
from dmd.params.config import Config
from dmd.runtime.places import Places
from dmd.types import Images, Labels, Model

Scores = list[dict[str, Any]]


class Scorer:
    """A system's set-up, and the few scores that tables show."""

    def __init__(self, config: Config, samples: int, teacher: Path | None = None) -> None:
        """Read what `fetch` left for the params; of each model sets of `samples` are drawn from the
        evaluation's noises.

        `teacher` is a folder in place of the system's own.
        """
        settings, device = config.evaluate.model_copy(update={"num_samples": samples}), find_device()
        self.setup = Setup.load(Places(config.system), config.dataset, settings, config.seed, device, teacher)
        self.device, self.noises = device, self.setup.noises

    def score_sets(self, model: Model, title: str, noises: Noises | None = None, num_sets: int = SETS) -> Scores:
        """Draw from disjoint sets of noises, behind a progress bar named `title`; the scores of each set.

        `model` makes what the teacher makes, images or latents.
        """
        summaries = (
            summarise_model(self.setup.net, self.setup.codec.decoding(model), part, self.setup.batch_size, title)
            for part in (noises or self.noises).sets(num_sets)
        )
        return [self.score(summary, k) for k, summary in enumerate(summaries)]

    def score_model(self, model: Model, title: str) -> dict[str, Any]:
        """Means over the sets, with the standard deviation of the distance."""
        return mean_scores(self.score_sets(model, title), self.setup.distance)

    def score_drawn(self, images: Images, labels: Labels | None, samples: int) -> dict[str, Any]:
        """The same of images that are there, in sets of `samples`."""
        sets = []
        for k, start in enumerate(range(0, len(images), samples)):
            places = range(start, start + samples, self.setup.batch_size)
            slices = [slice(place, min(place + self.setup.batch_size, start + samples)) for place in places]
            batches = ((images[part], None if labels is None else labels[part]) for part in slices)
            sets.append(self.score(summarise(self.setup.net, batches, samples), k))
        return mean_scores(sets, self.setup.distance)

    def score(self, summary: Summary, k: int = 0) -> dict[str, Any]:
        """The scores of set `k`'s summary that the tables show, by name."""
        found = self.setup.score(summary, k)
        names = (self.setup.distance, f"kid_{self.setup.features}", "precision", "recall", "class_accuracy")
        return {name: found[name] for name in (*names, "num_samples") if name in found}
