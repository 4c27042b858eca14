"""The files of `metrics/<system>/`: what git keeps of a run."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from dmd.report.collapse import name_collapse
from dmd.report.curves import HEALTH, losses_png
from dmd.report.page import render_page
from dmd.report.pictures import SMALL, grid_order, grid_width, history_panels, image_grid, side_by_side, to_png
from dmd.report.results import Run
from dmd.report.sections import all_chapters
from dmd.report.tables import headline, steps_table
from dmd.runtime.files import save_json, whole_file

GRIDS = {
    "teacher": "samples_teacher.png",
    "student_before": "samples_before.png",
    "student": "samples_student.png",
}
"""Samples and the picture of each."""

MAX_ROWS = 2000
"""Of the tables that git keeps: a longer run is averaged over groups of updates."""

DIGITS = 6
"""Significant digits of numbers that git keeps."""


def round_floats(value: Any, digits: int = DIGITS, place: str = "scores") -> Any:
    """The same nested value, its floats rounded to significant digits.

    Raises:
        ValueError: a number is not finite; names its place.
    """
    if isinstance(value, Mapping):
        return {key: round_floats(item, digits, f"{place}.{key}") for key, item in value.items()}
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(
                f"{place} is {value}: a score must be finite; look for it in the samples, then run evaluate again"
            )
        return float(f"{value:.{digits}g}")
    return value


def thin(table: pd.DataFrame, max_rows: int = MAX_ROWS) -> pd.DataFrame:
    """At most `max_rows` rows: means over equal groups of updates, `step` the last of each group."""
    size = -(-len(table) // max_rows)
    if size <= 1:
        return table
    groups = (table.index.to_series() - table.index[0]) // size
    return table.groupby(groups).mean().assign(step=table.groupby(groups)["step"].last())


def all_columns(health: pd.DataFrame) -> pd.DataFrame:
    """The table of health with all that a method may have: `dvc plots` refuses a plot that lacks a column."""
    return health.reindex(columns=["step", *(name for group in HEALTH.values() for name in group)])


def write_report(folder: Path, run: Run) -> None:
    """Write metrics.json, losses.csv, health.csv, steps.csv, the pictures and report.html into `folder`.

    The folder is `metrics/<system>`, made if missing.

    Raises:
        ValueError: a score is not finite or missing, or the history is empty.
    """
    folder.mkdir(parents=True, exist_ok=True)
    scores = round_floats(run.scores)
    save_json(folder / "metrics.json", scores)
    steps = steps_table(run.params, scores, run.teacher_steps)
    tables = {"losses": thin(run.losses), "health": all_columns(thin(run.health)), "steps": steps}
    for name, table in tables.items():
        missing = "nan" if name == "health" else ""  # `dvc plots` draws an empty cell as zero
        with whole_file(folder / f"{name}.csv") as out:
            table.to_csv(out, index=False, float_format=f"%.{DIGITS}g", na_rep=missing)
    _draw_pictures(folder, run, tables["losses"])
    with whole_file(folder / "report.html") as out:
        out.write_text(_page(run, scores), encoding="utf-8")


def _page(run: Run, scores: Mapping[str, Any]) -> str:
    dataset = run.params["dataset"]
    shape = " × ".join(map(str, dataset["image_shape"]))
    steps = len(run.params["distill"]["generator_timesteps"])
    calls = "one network call" if steps == 1 else f"{steps} network calls"
    note = (
        f"Distribution matching distillation of {dataset['name']}, {shape}: a diffusion model of many steps becomes a "
        f"generator of {calls}. All figures and pictures are of this run, but for the tables of the teacher."
    )
    if "teacher_note" in scores["run"]:
        note += f" The teacher is {scores['run']['teacher_note']}: this run shows that the system works, and no more."
    title = f"{run.params['system']}: {'one' if steps == 1 else steps}-step generation"
    return render_page(title, note, headline(scores), all_chapters(run, scores), name_collapse(run.health, scores))


def _draw_pictures(folder: Path, run: Run, losses: pd.DataFrame) -> None:
    labels, student = run.labels, run.samples["student"]
    side, enlarge = (10, 2) if student.shape[2] <= SMALL else (4, 1)
    order, width = grid_order(labels, len(student), side, side), grid_width(labels, side)
    pictures = {file: image_grid(run.samples[name][order], width, enlarge) for name, file in GRIDS.items()}
    panels = history_panels(run.history, run.epoch)
    pictures["history.png"] = side_by_side({title: image_grid(panel, 4, enlarge) for title, panel in panels.items()})
    drawn = {file: to_png(picture) for file, picture in pictures.items()} | {"losses.png": losses_png(losses)}
    for file, content in drawn.items():
        with whole_file(folder / file) as out:
            out.write_bytes(content)
