"""The tables of the report, and the files of `metrics/<system>/`."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from torch import Tensor

from dmd.checkpoint import save_json
from dmd.page import Section, render_page
from dmd.pictures import grid_order, grid_width, history_picture, image_grid, losses_figure, save_picture

ROWS = {
    "teacher": ("teacher",),
    "one step, before": ("student_before",),
    "one step, after": ("student",),
    "real test images": ("data", "test"),
}
"""Rows of the table of scores and where they stand in metrics.json."""

GRIDS = {
    "teacher": ("samples_teacher.png", "The teacher"),
    "student_before": ("samples_before.png", "One step before distillation"),
    "student": ("samples_student.png", "One step after distillation"),
}
"""Samples, the picture of each and its title."""

MAX_ROWS = 2000
"""Of losses.csv, which git keeps: a longer run is averaged over groups of updates."""

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


def thin(losses: pd.DataFrame, max_rows: int = MAX_ROWS) -> pd.DataFrame:
    """At most `max_rows` rows: means over equal groups of updates, `step` the last of each group."""
    size = -(-len(losses) // max_rows)
    if size <= 1:
        return losses
    groups = (losses.index.to_series() - losses.index[0]) // size
    return losses.groupby(groups).mean().assign(step=losses.groupby(groups)["step"].last())


def score_table(scores: Mapping[str, Any]) -> pd.DataFrame:
    """One row a model (real test images last), one column a score that any of them has; missing scores are NaN."""
    rows: dict[str, dict[str, Any]] = {}
    for name, path in ROWS.items():
        entry: Any = scores
        for key in path:
            entry = entry.get(key, {})
        if entry:
            rows[name] = {key: value for key, value in entry.items() if not isinstance(value, Mapping)}
    return pd.DataFrame.from_dict(rows, orient="index")


def parameter_table(params: Mapping[str, Any], training: Mapping[str, Any]) -> pd.DataFrame:
    """The talk's table of parameters, with what was really used; index: parameter, one column: value."""
    teacher, pairs, distill = params["teacher"], params["pairs"], params["distill"]
    schedule = teacher["schedule"]
    epochs = distill["steps"] * distill["pairs_batch_size"] / pairs["count"]
    values = {
        "total parameters": f"{training['parameters']:,}" if "parameters" in training else None,
        "pretrained model": "trained here" if teacher["source"] == "train" else teacher["source"],
        "pre-computed pairs": f"{pairs['count']:,}, {pairs['solver']} with {pairs['num_steps']} steps",
        "learning rate, generator": f"{distill['learning_rate_generator']:g}",
        "learning rate, fake score": f"{distill['learning_rate_fake']:g}",
        "batch size": f"{distill['batch_size']} noises + {distill['pairs_batch_size']} pairs",
        "epochs of the pairs": f"{epochs:.4g}",
        "steps": f"{distill['steps']:,}",
        "betas": f"{schedule['beta_start']:g} … {schedule['beta_end']:g}, {schedule['beta_schedule']}",
        "timesteps T": str(schedule["num_train_timesteps"]),
        "generator timestep t*": str(distill["generator_timestep"]),
        "regression": f"{params['alpha']:g} · {distill['perceptual']['name']} at {distill['perceptual']['resolution']}",
        "guidance scale": f"{params['guidance_scale']:g}",
        "fake-score updates a step": str(distill["num_fake_updates"]),
        "seed": str(params["seed"]),
    }
    return pd.DataFrame({"value": {name: value for name, value in values.items() if value is not None}})


def distance_key(scores: Mapping[str, Any]) -> str:
    """The name of the Fréchet distance in the student's scores: `fid` or `fd_<features>`.

    Raises:
        ValueError: there is none.
    """
    names = [key for key in scores["student"] if key == "fid" or (key.startswith("fd_") and key != "fd_to_teacher")]
    if not names:
        raise ValueError(
            f"no Fréchet distance among the student's scores {sorted(scores['student'])}; run evaluate again"
        )
    return names[0]


def headline(scores: Mapping[str, Any]) -> dict[str, str]:
    """The few figures that stand on top of the page: what is measured and its value."""
    key = distance_key(scores)
    student, before, teacher = scores["student"], scores["student_before"], scores["teacher"]
    figures = {
        f"{key}, one step": f"{student[key]:.3g}",
        f"{key}, before distillation": f"{before[key]:.3g}",
        f"{key}, teacher in {teacher['nfe']} calls": f"{teacher[key]:.3g}",
    }
    if "class_accuracy" in student:
        figures["class accuracy, one step"] = f"{student['class_accuracy']:.1%}"
    figures["faster than the teacher"] = f"{teacher['seconds_per_image'] / student['seconds_per_image']:.3g}×"
    return figures


def write_report(
    folder: Path,
    params: Mapping[str, Any],
    scores: Mapping[str, Any],
    samples: Mapping[str, Tensor],
    losses: pd.DataFrame,
    history: Mapping[str, Tensor],
    training: Mapping[str, Any],
) -> None:
    """Write metrics.json, losses.csv, the pictures and report.html into `folder`, made if missing.

    Args:
        folder: `metrics/<system>`.
        params: the whole params file as nested dictionaries.
        scores: the evaluation's scores, schema of metrics.json.
        samples: `teacher`, `student_before`, `student` images [N, C, H, W] of the same noises; `label` [N] if any.
        losses: `step` and the losses, one row a generator update.
        history: `x0_pair` and `images_step_<step>` [n, C, H, W] of the same noises.
        training: facts of the distillation; `parameters` is shown where it is there.

    Raises:
        ValueError: a score is not finite or missing, or the history is empty.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rounded = round_floats(scores)
    save_json(folder / "metrics.json", rounded)
    losses = thin(losses)
    losses.to_csv(folder / "losses.csv", index=False, float_format=f"%.{DIGITS}g")
    _draw_grids(folder, samples)
    save_picture(history_picture(history), folder / "history.png")
    save_picture(losses_figure(losses), folder / "losses.png")
    sections = _sections(folder, params, rounded, training)
    note = "The three grids show the same noises" + ("." if _labels(samples) is None else ", each column a class.")
    page = render_page(f"{params['system']}: one-step generation", note, headline(rounded), sections)
    (folder / "report.html").write_text(page, encoding="utf-8")


def _sections(
    folder: Path, params: Mapping[str, Any], rounded: Mapping[str, Any], training: Mapping[str, Any]
) -> list[Section]:
    return [
        Section("Scores", table=score_table(rounded)),
        *(Section(title, picture=folder / file, third=True) for file, title in GRIDS.values()),
        Section("The same noises through the training", picture=folder / "history.png"),
        Section("Losses", picture=folder / "losses.png"),
        Section("What was used", table=parameter_table(params, training)),
        Section("The run", table=pd.DataFrame({"value": rounded.get("speed", {}) | rounded.get("run", {})})),
        Section("All parameters", text=yaml.safe_dump(dict(params), sort_keys=False, allow_unicode=True)),
    ]


def _draw_grids(folder: Path, samples: Mapping[str, Tensor]) -> None:
    labels = _labels(samples)
    order = grid_order(labels, len(samples["student"]))
    for name, (file, _) in GRIDS.items():
        save_picture(image_grid(samples[name][order], grid_width(labels)), folder / file)


def _labels(samples: Mapping[str, Tensor]) -> Tensor | None:
    """The samples' classes; none where there are none, or all are -1."""
    labels = samples.get("label")
    return None if labels is None or bool((labels < 0).any()) else labels
