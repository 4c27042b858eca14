"""What the report is made of: everything that a run left in its files."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import BaseModel
from torch import Tensor

from dmd.runtime.handed import read_json, read_table, read_tensors
from dmd.types import Labels


class Model(BaseModel):
    """What the report needs of one model's scores."""

    nfe: int
    num_samples: int
    seconds_per_image: float


class Scores(BaseModel):
    """What it needs of scores.json."""

    teacher: Model
    student_before: Model
    student: Model
    data: dict[str, dict[str, float]]
    run: dict[str, Any]
    latency: dict[str, dict[str, float]] = {}


PICTURES = {
    "samples": {"teacher": 4, "student_before": 4, "student": 4, "label": 1},
    "neighbours": {"student": 4, "nearest": 4, "distance": 1, "label": 1},
    "worst": {"student": 4, "distance": 1, "index": 1, "label": 1},
}
"""What it needs of each file of tensors: names, and their dimensions."""

PER_CLASS = ("label", "model", "count", "class_accuracy")
LOSSES = ("step", "distribution_matching", "regression", "fake")
HEALTH = ("step", "variety", "mean_difference", "deviation_difference", "clipped_generator", "clipped_fake")


@dataclass(frozen=True)
class Run:
    """A run's params, scores, pictures and curves."""

    params: Mapping[str, Any]
    """The whole params file as nested dictionaries."""
    scores: Mapping[str, Any]
    """The evaluation's scores, schema of metrics.json."""
    samples: Mapping[str, Tensor]
    """`teacher`, `student_before`, `student` images [N, C, H, W] of the same noises, and `label` [N]."""
    neighbours: Mapping[str, Tensor]
    """`student` and `nearest` training images [K, C, H, W], their `distance` [K], and `label` [K]."""
    worst: Mapping[str, Tensor]
    """`student` [K, C, H, W], `distance` [K] to the nearest training image, the noise's `index` [K], `label` [K]."""
    per_class: pd.DataFrame
    """One row a `label` and `model`: `count`, `class_accuracy`; none for a model without labels."""
    losses: pd.DataFrame
    """`step` and the losses, one row a generator update."""
    health: pd.DataFrame
    """The table of `dmd.distill.health`."""
    history: Mapping[str, Tensor]
    """`x0_pair` and `images_step_<step>` [n, C, H, W] of the same noises."""
    training: Mapping[str, Any]
    """Facts of the distillation: `parameters`, `steps`, …"""
    teacher_steps: pd.DataFrame
    """The table of `dmd steps`; empty where none was made."""
    timesteps: pd.DataFrame
    """The table of `dmd timesteps`; empty where none was made."""
    curve: pd.DataFrame
    """`step` and scores of the averaged generator then; empty where no snapshots were kept."""

    @classmethod
    def load(cls, params: Mapping[str, Any], evaluation: Path, training: Path, tables: Path) -> "Run":
        """Read the folders of the stages evaluate and distill, and of `tables` the teacher's two if they are there.

        Raises:
            HandedError: a file is missing, empty or of another shape; names it and the stage to run again.
        """
        teacher_steps, timesteps = (
            _teachers_table(path) if path.exists() else pd.DataFrame()
            for path in (tables / "teacher_steps.csv", tables / "generator_timesteps.csv")
        )
        samples, neighbours, worst = (
            read_tensors(evaluation / f"{name}.safetensors", tensors) for name, tensors in PICTURES.items()
        )
        curve = evaluation / "curve.csv"
        return cls(
            params,
            read_json(evaluation / "scores.json", Scores),
            samples,
            neighbours,
            worst,
            read_table(evaluation / "per_class.csv", PER_CLASS, may_be_empty=True),
            read_table(training / "losses.csv", LOSSES),
            read_table(training / "health.csv", HEALTH, may_be_empty=True),
            read_tensors(training / "history.safetensors", {"x0_pair": 4}),
            read_json(training / "training.json"),
            teacher_steps,
            timesteps,
            read_table(curve, ("step",)) if curve.exists() else pd.DataFrame(),
        )

    @property
    def labels(self) -> Labels | None:
        """The samples' classes; none where there are none, or all are -1."""
        labels = self.samples.get("label")
        return None if labels is None or bool((labels < 0).any()) else labels

    @property
    def epoch(self) -> float:
        """Generator updates in which the pairs are seen once."""
        return self.params["pairs"]["count"] / self.params["distill"]["pairs_batch_size"]


def _teachers_table(path: Path) -> pd.DataFrame:
    """A table of the teacher's, its hashes as text: one of digits alone is no number."""
    table = read_table(path, {}, may_be_empty=True)
    return pd.read_csv(path, dtype={"teacher": str}) if "teacher" in table else table
