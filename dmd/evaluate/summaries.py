"""What is kept of a set of images for its scores, gathered in one pass; memory does not grow with the set."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch
from accelerate import PartialState
from accelerate.utils import gather_object, send_to_device, tqdm
from jaxtyping import Float, Float64, Int
from torch import Tensor, nn

from dmd.datasets.registry import to_images
from dmd.evaluate.frechet import Moments
from dmd.evaluate.noises import Batch, Noises
from dmd.types import Features, Images, Labels, Logits, Model, Pixels, Reference

Featured = tuple[Images, Labels | None, tuple[Features, Logits | None]]
"""A batch with what the feature net makes of it."""

MAX_KEPT = 10_000
"""So many feature vectors of a set are kept, drawn at random, for scores that compare single vectors."""

MAX_IMAGES = 250
"""So many images from the start of a set are kept, for the perceptual distance."""


ON_DEVICE = ("mean", "scatter", "features", "images")
"""What of a summary lies where the images were drawn; the rest is small and on the host."""


@dataclass(frozen=True)
class Summary:
    """What is kept of a set of images."""

    moments: Moments
    """Of the features of all images."""
    features: Reference
    """Of the kept images, [n, D]."""
    rows: Int[Tensor, " others"]
    """The kept images' places in the set, [n]."""
    images: Float[Tensor, "images channels height width"]
    """The first images of the set."""
    confusion: Int[Tensor, "classes classes"]
    """How many images of a label (row) the net takes for a class (column); empty for a net without classes."""
    light: Float64[Tensor, "2"]
    """Brightness and contrast: the means over images of an image's mean and standard deviation, in [-1, 1] units."""

    @property
    def class_accuracy(self) -> float | None:
        """Share of labelled images that the net takes for their label; none where there are no labels."""
        labelled = int(self.confusion.sum())
        return int(self.confusion.trace()) / labelled if labelled else None

    def tensors(self) -> dict[str, Tensor]:
        """All of it as named tensors."""
        count, mean, scatter = torch.tensor(self.moments.count), self.moments.mean, self.moments.scatter
        kept = {name: getattr(self, name) for name in ("features", "rows", "images", "confusion", "light")}
        return {"count": count, "mean": mean, "scatter": scatter} | kept

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor], device: torch.device) -> "Summary":
        """From what `tensors` gave, on a device."""
        values = {name: tensor.to(device) if name in ON_DEVICE else tensor for name, tensor in tensors.items()}
        moments = Moments(int(values.pop("count")), values.pop("mean"), values.pop("scatter"))
        return cls(moments, **values)


def kept_rows(total: int, count: int) -> Labels:
    """`min(count, total)` places of `total`, drawn without replacement, a function of both; they rise.

    Evenly spaced ones would miss classes: labels come in turn, so a spacing that shares a factor with their number
    meets some of them alone.
    """
    return torch.randperm(total, generator=torch.Generator().manual_seed(0))[:count].sort().values


@torch.no_grad()
def summarise(
    net: nn.Module, batches: Iterable[Batch], total: int, max_kept: int = MAX_KEPT, max_images: int = MAX_IMAGES
) -> Summary:
    """Sum up `total` images that come in batches on the net's device.

    Args:
        net: images in [-1, 1] → (features, logits or None), in eval mode.
        batches: images with labels, or with None: then there is no class accuracy.
        total: number of images in all batches.
        max_kept: feature vectors to keep, drawn at random.
        max_images: images to keep, the first ones.

    Raises:
        ValueError: there are no images, or features that are not finite.
    """
    return _sum_up(((*batch, net(batch[0])) for batch in batches), total, max_kept, max_images)


def _sum_up(batches: Iterable[Featured], total: int, max_kept: int = MAX_KEPT, max_images: int = MAX_IMAGES) -> Summary:
    moments: Moments | None = None
    rows, start = kept_rows(total, max_kept), 0
    kept: list[Features] = []
    first: list[Images] = []
    confusion, light = torch.zeros(0, 0, dtype=torch.long), torch.zeros(2, dtype=torch.float64)
    for images, labels, (features, logits) in batches:
        moments = Moments.of(features) if moments is None else moments.merge(Moments.of(features))
        wanted = rows[(rows >= start) & (rows < start + len(images))] - start
        kept.append(features[wanted.to(features.device)])
        if start < max_images:  # not even an empty view of a later batch, which would hold all of it
            first.append(images[: max_images - start].clone())
        light += _light(images)
        if labels is not None and logits is not None:
            confusion = confusion if len(confusion) else torch.zeros(2 * [logits.shape[1]], dtype=torch.long)
            confusion += _confusion(labels, logits)
        start += len(images)
    if moments is None:
        raise ValueError("there are no images to sum up")
    return Summary(moments, torch.cat(kept), rows, torch.cat(first), confusion, light / start)


def summarise_pixels(
    net: nn.Module,
    pixels: Pixels,
    labels: Labels | None,
    batch_size: int,
    device: torch.device,
    max_kept: int = MAX_KEPT,
    title: str = "real images",
) -> Summary:
    """Sum up stored images, behind a progress bar named `title`; see `summarise`."""

    def batches() -> Iterator[Batch]:
        starts = range(0, len(pixels), batch_size)
        for start in tqdm(starts, title, total=len(starts), unit="batch"):
            rows = slice(start, start + batch_size)
            yield to_images(pixels[rows].to(device)), None if labels is None else labels[rows].to(device)

    return summarise(net, batches(), len(pixels), max_kept)


@torch.no_grad()
def summarise_model(net: nn.Module, model: Model, noises: Noises, batch_size: int, title: str) -> Summary:
    """Draw from all noises, behind a progress bar named `title`. Images are cut to [-1, 1], as in pictures.

    Processes of one run take the batches in turns; each gets all images and features, in order, and sums them up alike.
    """
    return _sum_up(_shared(net, model, noises, batch_size, title), noises.count)


def _shared(net: nn.Module, model: Model, noises: Noises, batch_size: int, title: str) -> Iterator[Featured]:
    """The model's images of all noises with their features, in order; each batch is one process's of this run."""
    run, starts = PartialState(), range(0, noises.count, batch_size)
    rounds = range(0, len(starts), run.num_processes)
    for number in tqdm(rounds, title, total=len(rounds), unit="batch"):
        mine: list[Featured] = []
        for start in starts[number + run.process_index : number + run.process_index + 1]:  # none past the end
            z, labels = noises.batch(start, start + batch_size)
            images = model(z, labels).clamp(-1, 1)
            mine.append((images, noises.classes(labels), net(images)))
        yield from send_to_device(gather_object(mine), noises.device) if run.num_processes > 1 else mine


def _light(images: Images) -> Float64[Tensor, "2"]:
    """Sums over images of an image's mean and standard deviation over its pixels and channels."""
    values = images.flatten(1).double()
    return torch.stack([values.mean(1).sum(), values.std(1, correction=0).sum()]).cpu()


def _confusion(labels: Labels, logits: Tensor) -> Int[Tensor, "classes classes"]:
    classes = logits.shape[1]
    return (labels * classes + logits.argmax(1)).bincount(minlength=classes * classes).view(classes, classes).cpu()
