"""A comparison of runs: which params differ, and which scores differ by more than their spread over sets of noises.

A run is a Git revision, the name of a DVC experiment, or `workspace`; each is held against the first.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from dvc.api import metrics_show, params_show
from dvc.exceptions import DvcException
from scipy.stats import ttest_ind_from_stats

from dmd.commands.overrides import flat
from dmd.report.page import format_number

UNTESTED = ("nfe", "num_samples", "num_sets", "seconds_per_image")
"""Numbers without a spread over sets."""


class Run(NamedTuple):
    """A run's name, its params by dotted key, and one model's scores."""

    name: str
    params: Mapping[str, Any]
    scores: Mapping[str, float]


def load_run(revision: str, file: str, system: str, model: str) -> Run:
    """Params and scores of a revision, through DVC.

    Raises:
        ValueError: the revision is unknown or has no such run or model; names what was looked for.
    """
    metrics = f"metrics/{system}/metrics.json"
    rev = None if revision == "workspace" else revision
    try:
        params, scores = params_show(file, rev=rev), metrics_show(metrics, rev=rev)
    except (DvcException, OSError) as error:
        raise ValueError(
            f"{revision}: neither a revision with {file} and {metrics}, nor an experiment: {error}"
        ) from error
    for key in model.split("."):
        scores = scores.get(key) if isinstance(scores, Mapping) else None
    found = scores.items() if isinstance(scores, Mapping) else ()
    numbers = {name: value for name, value in found if isinstance(value, int | float)}
    if not params or not numbers:
        raise ValueError(f"{revision}: no scores of {model!r} in {metrics}, or no {file}; run the pipeline there")
    return Run(revision, flat(params), numbers)


def params_table(runs: Sequence[Run]) -> pd.DataFrame:
    """The params that are not alike in all runs: one row a key, one column a run; nothing where it is missing."""
    keys = dict.fromkeys(key for run in runs for key in run.params)
    rows = {key: [run.params.get(key) for run in runs] for key in keys}
    differing = {key: [str(value) for value in row] for key, row in rows.items() if any(v != row[0] for v in row)}
    return pd.DataFrame.from_dict(differing, orient="index", columns=[run.name for run in runs])


def welch(first: Run, second: Run, score: str) -> float | None:
    """Two-sided p-value that a score's means are equal: Welch's t over the sets of both runs (Welch 1947).

    Returns:
        0 … 1; none where it cannot be said: no spread, fewer than two sets, or another number of samples a set.
    """
    numbers = [
        (run.scores.get(score), run.scores.get(f"{score}_std"), run.scores.get("num_sets")) for run in (first, second)
    ]
    (mean, std, count), (other_mean, other_std, other_count) = numbers
    if None in (*numbers[0], *numbers[1]) or first.scores.get("num_samples") != second.scores.get("num_samples"):
        return None
    if std == other_std == 0:
        return None
    result = ttest_ind_from_stats(mean, std, count, other_mean, other_std, other_count, equal_var=False)
    return None if math.isnan(result.pvalue) else float(result.pvalue)


def scores_table(runs: Sequence[Run]) -> pd.DataFrame:
    """One row a score and run: its `mean`, `std`, `num_samples`, `num_sets`, `difference` from the first, `p_value`."""
    names = dict.fromkeys(name for run in runs for name in run.scores if not name.endswith("_std"))
    first = runs[0]
    rows = [
        {
            "score": name,
            "run": run.name,
            "mean": run.scores[name],
            "std": run.scores.get(f"{name}_std"),
            "num_samples": run.scores.get("num_samples"),
            "num_sets": run.scores.get("num_sets"),
            "difference": None if run == first else run.scores[name] - first.scores.get(name, math.nan),
            "p_value": None if run == first or name in UNTESTED else welch(first, run, name),
        }
        for name in names
        for run in runs
        if name in run.scores
    ]
    return pd.DataFrame(rows).astype({"std": float, "difference": float, "p_value": float})


def markdown(params: pd.DataFrame, scores: pd.DataFrame, level: float) -> str:
    """Both tables, one column a run; a difference from the first run with p < level is marked `*`."""

    def cell(row: Any) -> str:
        text = format_number(row.mean_) + ("" if pd.isna(row.std) else f" ± {format_number(row.std)}")
        return text if pd.isna(row.p_value) else f"{text} (p {row.p_value:.2g}){' *' if row.p_value < level else ''}"

    cells = [cell(row) for row in scores.rename(columns={"mean": "mean_"}).itertuples()]
    order = list(dict.fromkeys(scores["run"]))
    wide = scores.assign(cell=cells).pivot(index="score", columns="run", values="cell")[order].fillna("")
    wide = wide.loc[list(dict.fromkeys(scores["score"]))]
    parts = ["## Params that differ", params.to_markdown() if len(params) else "None.", "## Scores"]
    note = f"Mean ± standard deviation over sets of noises; p of Welch's t against {order[0]}; * where p < {level:g}."
    return "\n\n".join([*parts, wide.to_markdown(disable_numparse=True), note]) + "\n"


def write_tables(out: Path, text: str, params: pd.DataFrame, scores: pd.DataFrame) -> None:
    """Write the text to OUT.md, the long table of scores to OUT.csv and the params that differ to OUT-params.csv."""
    out.parent.mkdir(parents=True, exist_ok=True)
    out.with_name(f"{out.name}.md").write_text(text, encoding="utf-8")
    scores.to_csv(out.with_name(f"{out.name}.csv"), index=False, float_format="%.6g")
    params.to_csv(out.with_name(f"{out.name}-params.csv"))
