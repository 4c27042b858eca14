"""Scores of a model: its samples drawn, timed and summed up in feature space in one pass, held against real images."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dmd.datasets import to_images
from dmd.evaluation import Moments, frechet_distance, kernel_distance, precision_recall
from dmd.progress import track
from dmd.rng import Stream, sample_noise
from dmd.types import Features, Images, Labels, Pixels

logger = logging.getLogger(__name__)

Model = Callable[[Images, Labels | None], Images]
"""From noise and labels to images, on one device."""

Batch = tuple[Images, Labels | None]
"""Images or noise, with labels where there are classes."""

MAX_KEPT = 10_000
"""So many feature vectors of a set are kept, evenly spaced, for the kernel distance and for precision and recall."""

NUM_NEIGHBOURS = 3
"""Of precision and recall, as in the paper."""


@dataclass(frozen=True)
class Noises:
    """The fixed noises that every model is scored on: `(seed, EVALUATION, index)`, label `index % num_classes`."""

    seed: int
    count: int
    shape: tuple[int, ...]
    num_classes: int | None
    device: torch.device

    def batch(self, start: int, stop: int) -> Batch:
        """Noise and labels of the indices `start … stop - 1`, cut at `count`, on the device."""
        index = torch.arange(start, min(stop, self.count))
        z = sample_noise(self.seed, index, self.shape, Stream.EVALUATION).to(self.device)
        return z, None if self.num_classes is None else (index % self.num_classes).to(self.device)

    def batches(self, batch_size: int) -> Iterator[Batch]:
        """All of them, in order."""
        for start in range(0, self.count, batch_size):
            yield self.batch(start, start + batch_size)


class TimedModel:
    """A model with a stopwatch around each call; work still under way on an accelerator is waited for."""

    def __init__(self, model: Model, device: torch.device) -> None:
        """Wrap `model`."""
        self.model = model
        self.device = device
        self.seconds = 0.0
        self.images = 0

    def __call__(self, z: Images, labels: Labels | None) -> Images:
        """The model's images."""
        _synchronize(self.device)
        start = time.perf_counter()
        images = self.model(z, labels)
        _synchronize(self.device)
        self.seconds += time.perf_counter() - start
        self.images += len(z)
        return images

    @property
    def seconds_per_image(self) -> float:
        """Wall time of all calls over the images they gave."""
        return self.seconds / self.images


@dataclass(frozen=True)
class Summary:
    """What is kept of a set of images: moments of all features, some feature vectors, label accuracy."""

    moments: Moments
    features: Features
    class_accuracy: float | None


@torch.no_grad()
def summarise(net: nn.Module, batches: Iterable[Batch], total: int, max_kept: int = MAX_KEPT) -> Summary:
    """Sum up `total` images that come in batches on the net's device; memory does not grow with `total`.

    Args:
        net: images in [-1, 1] → (features, logits), in eval mode.
        batches: images with labels, or with None: then there is no class accuracy.
        total: number of images in all batches.
        max_kept: feature vectors to keep; row i is kept where floor(i k / total) steps up, so they are spread evenly.

    Raises:
        ValueError: there are no images, or features that are not finite.
    """
    moments: Moments | None = None
    kept: list[Features] = []
    start, hits, labelled = 0, 0, 0
    share = min(max_kept, total)
    for images, labels in batches:
        features, logits = net(images)
        batch = Moments.of(features)
        moments = batch if moments is None else moments.merge(batch)
        rows = torch.arange(start, start + len(images))
        kept.append(features[((rows + 1) * share // total > rows * share // total).to(features.device)])
        start += len(images)
        if labels is not None:
            hits, labelled = hits + int((logits.argmax(1) == labels).sum()), labelled + len(labels)
    if moments is None:
        raise ValueError("there are no images to sum up")
    return Summary(moments, torch.cat(kept), hits / labelled if labelled else None)


def summarise_pixels(
    net: nn.Module, pixels: Pixels, labels: Labels | None, batch_size: int, device: torch.device
) -> Summary:
    """Sum up stored images; see `summarise`."""

    def batches() -> Iterator[Batch]:
        for start in range(0, len(pixels), batch_size):
            rows = slice(start, start + batch_size)
            yield to_images(pixels[rows].to(device)), None if labels is None else labels[rows].to(device)

    return summarise(net, batches(), len(pixels))


@torch.no_grad()
def summarise_model(net: nn.Module, model: Model, noises: Noises, batch_size: int, title: str) -> tuple[Summary, float]:
    """Draw from all noises, behind a progress bar named `title`; returns the summary and the seconds per image.

    One batch is drawn before, untimed. Seconds are those of the model alone. Images are cut to [-1, 1], as in pictures.
    """
    model(*noises.batch(0, batch_size))
    timed = TimedModel(model, noises.device)

    def batches() -> Iterator[Batch]:
        total = -(-noises.count // batch_size)
        for z, labels in track(noises.batches(batch_size), title, total=total, unit="batch"):
            yield timed(z, labels).clamp(-1, 1), labels

    summary = summarise(net, batches(), noises.count)
    return summary, timed.seconds_per_image


@torch.no_grad()
def seconds_per_image(model: Model, noises: Noises, batch_size: int) -> float:
    """Wall time of one batch, after a first one that warms up, over its images."""
    timed = TimedModel(model, noises.device)
    model(*noises.batch(0, batch_size))
    timed(*noises.batch(0, batch_size))
    return timed.seconds_per_image


def score(summary: Summary, reference: Summary, name: str, seed: int) -> dict[str, float]:
    """Scores of a set of images against the real ones, by the names of `metrics.json`.

    `fd_<name>`, `kid_<name>` with its standard error, `precision`, `recall`, `class_accuracy` where there are labels,
    and `num_samples`. `name` is the feature net's; `seed` draws the subsets of the kernel distance.

    Raises:
        ValueError: too few samples for one of the distances.
    """
    kernel = kernel_distance(summary.features, reference.features, seed=seed)
    precision, recall = precision_recall(summary.features, reference.features, NUM_NEIGHBOURS)
    scores = {
        f"fd_{name}": frechet_distance(summary.moments, reference.moments),
        f"kid_{name}": kernel.mean,
        f"kid_{name}_standard_error": kernel.standard_error,
        "precision": precision,
        "recall": recall,
        "num_samples": summary.moments.count,
    }
    return scores if summary.class_accuracy is None else scores | {"class_accuracy": summary.class_accuracy}


def score_models(
    net: nn.Module, models: Mapping[str, Model], reference: Summary, noises: Noises, batch_size: int, name: str
) -> tuple[dict[str, dict[str, float]], dict[str, Summary]]:
    """`score` and `seconds_per_image` of each model on the same noises, and their summaries, by the models' names.

    `reference` sums up the real images; `name` is the feature net's.
    """
    scores, summaries = {}, {}
    for title, model in models.items():
        summaries[title], seconds = summarise_model(net, model, noises, batch_size, title)
        scores[title] = score(summaries[title], reference, name, noises.seed) | {"seconds_per_image": seconds}
        logger.info("%s: fd_%s %.3f, %.3g s an image", title, name, scores[title][f"fd_{name}"], seconds)
    return scores, summaries


@torch.no_grad()
def first_samples(models: Mapping[str, Model], noises: Noises, count: int) -> dict[str, Tensor]:
    """The first `count` samples of each model by its name, in [-1, 1], with their noise `z` and `label` (-1: none)."""
    z, labels = noises.batch(0, count)
    images = {title: model(z, labels).clamp(-1, 1) for title, model in models.items()}
    return images | {"z": z, "label": torch.full((len(z),), -1) if labels is None else labels}


def _synchronize(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
