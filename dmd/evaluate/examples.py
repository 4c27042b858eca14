"""Samples worth a look: the first ones, those farthest from the real images, and their nearest training images."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from dmd.datasets.labels import stored_labels
from dmd.datasets.registry import to_images
from dmd.evaluate.neighbours import nearest
from dmd.evaluate.noises import Noises
from dmd.evaluate.summaries import Summary
from dmd.runtime.files import save_tensors
from dmd.types import Images, Labels, Model, Pixels

GRID, NEIGHBOURS, WORST = 100, 16, 32
"""How many samples of each kind are kept."""


def write_examples(
    folder: Path,
    models: Mapping[str, Model],
    drawn: Mapping[str, Sequence[Summary]],
    train: Summary,
    pixels: Pixels,
    noises: Sequence[Noises],
    batch_size: int,
) -> None:
    """Write samples, neighbours and worst as safetensors, and per_class.csv, into `folder`.

    Args:
        folder: is there.
        models: by name; `student` is one of them.
        drawn: summaries of the models' samples, and of other images by their name, each of all sets.
        train: of the training images, with the features of all.
        pixels: the training images.
        noises: the sets.
        batch_size: of the samples, at most.
    """
    student, summaries = models["student"], drawn["student"]
    save_tensors(folder / "samples.safetensors", first_samples(models, noises[0], GRID, batch_size))
    neighbours = neighbours_of(student, summaries[0], train, pixels, noises[0], NEIGHBOURS, batch_size)
    save_tensors(folder / "neighbours.safetensors", neighbours)
    save_tensors(folder / "worst.safetensors", worst_samples(student, summaries, train, noises, WORST, batch_size))
    per_class_table(drawn).to_csv(folder / "per_class.csv", index=False, float_format="%.6g")


@torch.no_grad()
def first_samples(models: Mapping[str, Model], noises: Noises, count: int, batch_size: int) -> dict[str, Tensor]:
    """The first `count` samples of each model by its name, in [-1, 1], with their noise `z` and `label` (-1: none)."""
    z, labels = noises.batch(0, count)
    images = {title: _drawn(model, z, labels, batch_size) for title, model in models.items()}
    return images | {"z": z, "label": stored_labels(noises.classes(labels), len(z))}


@torch.no_grad()
def neighbours_of(
    model: Model, summary: Summary, train: Summary, pixels: Pixels, noises: Noises, count: int, batch_size: int
) -> dict[str, Tensor]:
    """The first `count` samples beside their nearest training images in feature space.

    Args:
        model: draws them again.
        summary: of its samples of `noises`.
        train: of the training images, with the features of all or of many.
        pixels: the training images.
        noises: the first set.
        count: how many; at most as many as the summary kept.
        batch_size: of a pass, at most.

    Returns:
        `student` and `nearest` [K, C, H, W] in [-1, 1], `distance` [K] between their features, and `label` [K].
    """
    z, labels = noises.at(noises.first + summary.rows[:count].cpu())
    found = nearest(summary.features[:count], train.features)
    return {
        "student": _drawn(model, z, labels, batch_size),
        "nearest": to_images(pixels[train.rows.cpu()[found.row.cpu()]]),
        "distance": found.distance,
        "label": stored_labels(noises.classes(labels), len(z)),
    }


@torch.no_grad()
def worst_samples(
    model: Model,
    summaries: Sequence[Summary],
    train: Summary,
    noises: Sequence[Noises],
    count: int,
    batch_size: int,
) -> dict[str, Tensor]:
    """The samples that lie farthest from the real images, by the distance to the nearest training image's features.

    Args:
        model: draws them again.
        summaries: of its samples, one for each of `noises`.
        train: of the training images.
        noises: the sets.
        count: how many.
        batch_size: of a pass, at most.

    Returns:
        `student` [K, C, H, W] in [-1, 1], `distance` [K] falling, the noise's `index` [K], and `label` [K].
    """
    index = torch.cat([part.first + summary.rows.cpu() for part, summary in zip(noises, summaries, strict=True)])
    distance = torch.cat([nearest(summary.features, train.features).distance for summary in summaries])
    order = distance.argsort(descending=True)[:count]
    chosen = index[order.cpu()]
    z, labels = noises[0].at(chosen)
    images = _drawn(model, z, labels, batch_size)
    classes = stored_labels(noises[0].classes(labels), len(z))
    return {"student": images, "distance": distance[order], "index": chosen, "label": classes}


def _drawn(model: Model, z: Images, labels: Labels | None, batch_size: int) -> Tensor:
    """Images of noises, of the codec's pixels where they are latents, at most `batch_size` at once, cut to [-1, 1]."""
    noises = z.split(batch_size)
    parts = [None] * len(noises) if labels is None else labels.split(batch_size)
    return torch.cat([model(*part).clamp(-1, 1) for part in zip(noises, parts, strict=True)])


def per_class_table(models: Mapping[str, Sequence[Summary]]) -> pd.DataFrame:
    """One row a label and model: `label`, `model`, `count`, `class_accuracy`, and the class most mistaken for it.

    `mistaken_for` is the class that the net most often takes a wrong image for, and `mistaken_share` how often, as a
    share of the label's images; both are empty where all are right. Models without labels have no rows.
    """
    rows: list[dict[str, Any]] = []
    for name, summaries in models.items():
        confusion = sum((summary.confusion for summary in summaries[1:]), start=summaries[0].confusion)
        for label, taken in enumerate(confusion):
            count = int(taken.sum())
            if not count:
                continue
            wrong = taken.clone()
            wrong[label] = 0
            most = int(wrong.argmax()) if wrong.any() else None
            rows.append(
                {
                    "label": label,
                    "model": name,
                    "count": count,
                    "class_accuracy": int(taken[label]) / count,
                    "mistaken_for": most,
                    "mistaken_share": None if most is None else int(wrong[most]) / count,
                }
            )
    columns = ["label", "model", "count", "class_accuracy", "mistaken_for", "mistaken_share"]
    table = pd.DataFrame(rows, columns=columns).astype({"mistaken_for": "Int64"})
    return table.sort_values("label", kind="stable", ignore_index=True)
