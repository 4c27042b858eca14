"""The rows and columns of `dvc exp show` that matter to someone who compares runs of one system."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dvc.api import exp_show
from dvc.exceptions import DvcException

from dmd.commands.overrides import flat
from dmd.params.dialect import read_yaml

SCORES = ("student.fd_", "student.class_accuracy", "student.recall", "student.nfe", "student.seconds_per_image")
"""What a column's name begins with; a name that ends in `_` stands for all that go on with one word."""

LEFT_OUT = ("_std", "_merged")
"""Ends of the names of columns that say how sure another is."""


def list_runs(params: str, system: str, scores: Sequence[str], commits: int) -> list[dict[str, Any]]:
    """One row a run: its name, the params that differ, and the scores.

    Raises:
        ValueError: DVC cannot list experiments here, with its own words; or no run has a score that was asked for.
    """
    try:
        found = exp_show(num=commits)
    except DvcException as error:
        raise ValueError(f"{params}: DVC cannot list experiments: {error}") from error
    metrics = f"metrics/{system}/metrics.json"
    keys = flat(read_yaml(Path(params)))
    rows = [{_plain(name, params, metrics): value for name, value in row.items()} for row in found]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    differing = [key for key in columns if key in keys and len({str(row.get(key)) for row in rows}) > 1]
    shown = [name for score in scores for name in columns if _is_score(name, score)]
    if scores is not SCORES and (missing := [score for score in scores if score not in shown]):
        there = ", ".join(name for name in columns if name.startswith("student."))
        raise ValueError(f"--score {missing[0]}: no run has it; there are {there or 'no scores yet'}, and more")
    return [{"run": _name(row), **{name: row.get(name) for name in (*differing, *shown)}} for row in rows]


def _plain(name: str, *files: str) -> str:
    """A column's name without this system's file, which DVC puts before it where several files have the key."""
    file, _, key = name.rpartition(":")
    return key if os.path.normpath(file) in files else name


def _is_score(name: str, score: str) -> bool:
    if not score.endswith("_"):
        return name == score
    return name.startswith(score) and not name.endswith(LEFT_OUT) and name != f"{score}to_teacher"


def _name(row: dict[str, Any]) -> str:
    """An experiment's own name, else the branch or commit, or the workspace."""
    return str(row.get("Experiment") or row.get("rev"))
