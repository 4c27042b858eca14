"""What the report is made of: everything that a run left in its files."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from torch import Tensor

from dmd.runtime.files import load_json, load_tensors
from dmd.types import Labels


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
        """Read the folders of the stages evaluate and distill, and of `tables` the teacher's two if they are there."""
        teacher_steps, timesteps = (
            pd.read_csv(path) if path.exists() else pd.DataFrame()
            for path in (tables / "teacher_steps.csv", tables / "generator_timesteps.csv")
        )
        curve = evaluation / "curve.csv"
        return cls(
            params,
            load_json(evaluation / "scores.json"),
            load_tensors(evaluation / "samples.safetensors"),
            load_tensors(evaluation / "neighbours.safetensors"),
            load_tensors(evaluation / "worst.safetensors"),
            pd.read_csv(evaluation / "per_class.csv"),
            pd.read_csv(training / "losses.csv"),
            pd.read_csv(training / "health.csv"),
            load_tensors(training / "history.safetensors"),
            load_json(training / "training.json"),
            teacher_steps,
            timesteps,
            pd.read_csv(curve) if curve.exists() else pd.DataFrame(),
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
