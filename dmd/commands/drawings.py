"""Images drawn from noises that are known by their seed, timed, and written as pictures."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from accelerate.utils import tqdm

from dmd.commands.device import find_device
from dmd.commands.sources import Source
from dmd.diffusion.rng import Stream, sample_noise
from dmd.evaluate.latency import TimedModel
from dmd.report.pictures import SMALL, image_grid, to_png
from dmd.types import Images, Labels

COLUMNS = 10
"""Of a grid, at most, unless the command line says otherwise."""


class Drawn(NamedTuple):
    """Images in [-1, 1] on the CPU, their classes or the places of their prompts, and what one cost."""

    images: Images
    labels: Labels | None
    seconds: float
    device: str


@torch.no_grad()
def draw_images(source: Source, classes: Sequence[int] | None, count: int, seed: int, batch_size: int) -> Drawn:
    """Image i is of the evaluation's noise i of this seed, and of the i-th class in turn.

    One image goes before, untimed.
    """
    device = find_device()
    labels = None if classes is None else torch.tensor([classes[i % len(classes)] for i in range(count)])
    timed, images = TimedModel(source.model, device), []
    for start in tqdm(range(0, count, batch_size), "draw", unit="batch", disable=count <= batch_size):
        rows = range(start, min(start + batch_size, count))
        z = sample_noise(seed, rows, source.image_shape, Stream.EVALUATION).to(device)
        chosen = None if labels is None else labels[rows.start : rows.stop].to(device)
        if start == 0:
            source.model(z[:1], None if chosen is None else chosen[:1])
        images.append(timed(z, chosen).float().clamp(-1, 1).cpu())
    return Drawn(torch.cat(images), labels, timed.seconds_per_image, device.type)


def write_images(
    target: Path, images: Images, labels: Labels | None, columns: int | None, labelled: str = "class"
) -> None:
    """Write a grid to `target` if it ends in .png, else single files into that folder, named by number and label."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.suffix == ".png":
        classes = COLUMNS if labels is None or len(labels.unique()) == 1 else len(labels.unique())
        target.write_bytes(to_png(image_grid(images, columns or min(classes, COLUMNS), 1 + (images.shape[2] <= SMALL))))
        return
    target.mkdir(exist_ok=True)
    for number, image in enumerate(images):
        name = f"{number:05d}" if labels is None else f"{number:05d}-{labelled}-{labels[number]}"
        picture = image_grid(image[None], 1)
        (target / f"{name}.png").write_bytes(to_png(picture.convert("L" if picture.mode == "LA" else "RGB")))
