"""The table that compares the systems: a column for each run that git keeps."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from dmd.report.tables import distance_key
from dmd.runtime.files import load_json

MODELS = {"teacher": "teacher", "before": "student_before", "student": "student"}
"""Columns of the distance, and the model of metrics.json that each is of."""


def systems(metrics: Path) -> pd.DataFrame:
    """One column a system with a run in `metrics`, the smallest network first; the first column names the rows.

    Network parameters; the teacher's source and calls an image; the distance by name, and its value for the teacher,
    one step of it before distillation, the student, and real test images; the student's over the two; seconds an image
    of teacher and student, and how many times as fast that is.
    """
    runs = [(path.parent.name, load_json(path)) for path in sorted(metrics.glob("*/metrics.json"))]
    runs.sort(key=lambda run: run[1]["run"]["parameters"])
    columns = [_column(system, scores) for system, scores in runs]
    return pd.DataFrame(columns, dtype=object).set_index("").transpose().rename_axis("").reset_index()


def _column(system: str, scores: Mapping[str, Any]) -> dict[str, Any]:
    key, run = distance_key(scores), scores["run"]
    distances = {column: scores[model][key] for column, model in MODELS.items()}
    seconds = {column: scores[model]["seconds_per_image"] for column, model in MODELS.items() if column != "before"}
    return {
        "": f"[{system}]({system}.md)",
        "parameters": f"{run['parameters']:,}",
        "teacher from": run["teacher_source"],
        "teacher's calls an image": scores["teacher"]["nfe"],
        "distance": key,
        "sets of samples": f"{run['num_sets']} of {run['num_samples']}",
        "teacher": distances["teacher"],
        "one step, before": distances["before"],
        "one step, after": distances["student"],
        "real test images": scores["data"]["test"][key],
        "student ÷ teacher": distances["student"] / distances["teacher"],
        "student ÷ before": distances["student"] / distances["before"],
        "seconds an image, teacher": seconds["teacher"],
        "seconds an image, student": seconds["student"],
        "times as fast": seconds["teacher"] / seconds["student"],
    }
