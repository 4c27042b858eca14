"""Scores of the averaged generator through a training: a curve of the distance over its updates."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from dmd.datasets.labels import balanced_labels
from dmd.evaluate.setup import Setup
from dmd.evaluate.summaries import summarise_pixels
from dmd.runtime.files import load_tensors
from dmd.types import Pixels


def write_curve(out: Path, setup: Setup, snapshots: Path) -> None:
    """Write the table of a file of snapshots; nothing where a training kept none."""
    if snapshots.exists():
        snapshot_table(setup, load_tensors(snapshots)).to_csv(out, index=False)


def snapshot_table(setup: Setup, snapshots: Mapping[str, Pixels]) -> pd.DataFrame:
    """One row for each snapshot `step_<update>` of the same noises: `step`, the scores, `num_samples`.

    Images were kept as bytes, as real ones are; they bear the classes in turn, as the evaluation's noises do.
    """
    rows = []
    for name, pixels in sorted(snapshots.items(), key=lambda item: _update(item[0])):
        labels = setup.noises.classes(balanced_labels(range(len(pixels)), setup.noises.num_classes))
        summary = summarise_pixels(setup.net, pixels, labels, setup.batch_size, setup.noises.device, title=name)
        found = setup.score(summary)
        names = (setup.distance, f"kid_{setup.features}", "precision", "recall", "class_accuracy", "num_samples")
        rows.append({"step": _update(name)} | {key: found[key] for key in names if key in found})
    return pd.DataFrame(rows)


def _update(name: str) -> int:
    return int(name.rpartition("_")[2])
