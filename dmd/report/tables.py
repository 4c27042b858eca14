"""The tables of a run: scores with their spread, parameters beside the talk's, network calls against distance."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from dmd.report.talk_parameters import TALK

PLACES = {
    "teacher": ("teacher",),
    "student_before": ("student_before",),
    "student": ("student",),
    "test": ("data", "test"),
}
"""Rows of the table of scores and where they stand in metrics.json."""

ORDER = ("fid", "fd_", "kid_", "class_", "precision", "recall", "density", "coverage", "nfe", "seconds_", "", "num_")
"""Scores by the beginning of their names, in the order of the table; all others stand at the empty one."""

SPREAD = "_std"
"""A score `<name>_std` is the standard deviation of `<name>` over disjoint sets of samples."""

STEPS = ["model", "guidance_scale", "solver", "num_steps", "nfe", "distance", "seconds_per_image", "num_samples"]
"""Columns of `steps_table`."""


def steps_in_words(calls: int) -> str:
    """Of how many calls a generator is: `one step` or `4 steps`."""
    return "one step" if calls == 1 else f"{calls} steps"


def titles(scores: Mapping[str, Any]) -> dict[str, str]:
    """What tables call the models, and the real images; the student by how many calls it takes."""
    steps = steps_in_words(scores["student"]["nfe"])
    student = {"student_before": f"{steps}, before", "student": f"{steps}, after"}
    return {"teacher": "teacher", **student, "test": "real test images"}


def score_table(scores: Mapping[str, Any]) -> pd.DataFrame:
    """One row a model (real test images last), one column a score that any of them has; missing scores are NaN.

    A score that has a spread is the text `mean ± standard deviation`.
    """
    rows: dict[str, dict[str, Any]] = {}
    names = titles(scores)
    for name, path in PLACES.items():
        entry: Any = scores
        for key in path:
            entry = entry.get(key, {})
        if entry:
            plain = {key: value for key, value in entry.items() if not isinstance(value, Mapping)}
            rows[names[name]] = _with_spread(plain)
    table = pd.DataFrame.from_dict(rows, orient="index")
    return table[sorted(table, key=lambda name: (_rank(str(name)), list(table).index(name)))]


def _rank(name: str) -> int:
    """Place of a score in `ORDER`: that of the longest beginning that it has."""
    return max((len(start), rank) for rank, start in enumerate(ORDER) if name.startswith(start))[1]


def _with_spread(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: f"{value:.4g} ± {entry[key + SPREAD]:.2g}" if key + SPREAD in entry else value
        for key, value in entry.items()
        if not (key.endswith(SPREAD) and key.removesuffix(SPREAD) in entry)
    }


def parameter_table(params: Mapping[str, Any], training: Mapping[str, Any]) -> pd.DataFrame:
    """What was used; index: parameter, columns: `this run` and, for a system of the talk, `the talk`."""
    teacher, pairs, distill = params["teacher"], params["pairs"], params["distill"]
    schedule = teacher["schedule"]
    epochs = distill["steps"] * distill["pairs_batch_size"] / pairs["count"]
    values = {
        "images": " × ".join(map(str, params["dataset"]["image_shape"])),
        "total parameters": f"{training['parameters']:,}" if "parameters" in training else None,
        "pretrained model": "trained here" if teacher["source"] == "train" else teacher["source"],
        "pre-computed pairs": f"{pairs['count']:,}, {pairs['solver']} with {pairs['num_steps']} steps",
        "learning rate, generator": f"{distill['learning_rate_generator']:g}",
        "learning rate, fake score": f"{distill['learning_rate_fake']:g}",
        "batch size": f"{distill['batch_size']} noises + {distill['pairs_batch_size']} pairs",
        "epochs of the pairs": f"{epochs:.4g}",
        "steps": f"{distill['steps']:,}",
        **_noise(schedule),
        "timesteps T": f"{schedule['num_train_timesteps']:,}" if schedule else "the checkpoint's",
        "generator timestep t*": _timesteps(distill),
        "matching": _matching(distill),
        "regression": f"{params['alpha']:g} · {distill['perceptual']['name']} at {distill['perceptual']['resolution']}",
        "guidance scale": f"{params['guidance_scale']:g}",
        "fake-score updates a step": str(distill["num_fake_updates"]),
        "seed": str(params["seed"]),
    }
    table = pd.DataFrame({"this run": {name: value for name, value in values.items() if value is not None}})
    talk = TALK.get(params["system"])
    return table if talk is None else table.assign(**{"the talk": pd.Series(dict(talk))})


def _noise(schedule: Mapping[str, Any] | None) -> dict[str, str]:
    """The betas of a schedule, or the sigmas of an EDM teacher's."""
    if schedule is None:
        return {"betas": "the checkpoint's"}
    if schedule["prediction_type"] == "edm":
        return {"sigmas": f"{schedule['sigma_min']:g} … {schedule['sigma_max']:g}, rho {schedule['rho']:g}"}
    return {"betas": f"{schedule['beta_start']:g} … {schedule['beta_end']:g}, {schedule['beta_schedule']}"}


def _timesteps(distill: Mapping[str, Any]) -> str:
    """The generator's timesteps, and whether the last of several is trained alone."""
    said = ", ".join(map(str, distill["generator_timesteps"]))
    last = distill["matched_steps"] == "last" and len(distill["generator_timesteps"]) > 1
    return f"{said}; matched at the last" if last else said


def _matching(distill: Mapping[str, Any]) -> str:
    """The matching loss, its range of noise, and a discriminator's kind and weight."""
    matching, discriminator = distill["matching"], distill["discriminator"]
    low, high = matching["noise"]
    said = f"{matching['loss']}, σ/α {low:g} … {high:g}"
    if matching["divergence"] != "reverse_kl":
        said += f", {matching['divergence'].replace('_', ' ')}"
    return said if discriminator["kind"] is None else f"{said}; {discriminator['weight']:g} · {discriminator['kind']}"


def distance_key(scores: Mapping[str, Any]) -> str:
    """The name of the Fréchet distance in the student's scores: `fid` or `fd_<features>`.

    Raises:
        ValueError: there is none.
    """
    names = [
        key
        for key in scores["student"]
        if key == "fid" or (key.startswith("fd_") and not key.startswith("fd_to_teacher"))
    ]
    if not names:
        raise ValueError(
            f"no Fréchet distance among the student's scores {sorted(scores['student'])}; run evaluate again"
        )
    return min(names, key=len)


def headline(scores: Mapping[str, Any]) -> dict[str, str]:
    """The few figures that stand on top of the page: what is measured and its value."""
    key = distance_key(scores)
    student, before, teacher = scores["student"], scores["student_before"], scores["teacher"]
    steps = steps_in_words(student["nfe"])
    figures = {
        f"{key}, {steps}": f"{student[key]:.3g}",
        f"{key}, {steps} before distillation": f"{before[key]:.3g}",
        f"{key}, teacher in {teacher['nfe']} calls": f"{teacher[key]:.3g}",
    }
    if "class_accuracy" in student:
        figures[f"class accuracy, {steps}"] = f"{student['class_accuracy']:.1%}"
    figures["faster than the teacher"] = f"{teacher['seconds_per_image'] / student['seconds_per_image']:.3g}×"
    return figures


def name_solver(solver: str, spacing: str) -> str:
    """The solver's name, with the spacing where it is not `trailing`: `ddim, leading`."""
    return solver if spacing == "trailing" else f"{solver}, {spacing}"


def with_spacing(teacher_steps: pd.DataFrame) -> pd.DataFrame:
    """The table of `dmd steps` with the spacing in the solver's name."""
    if "timestep_spacing" not in teacher_steps:
        return teacher_steps
    names = map(name_solver, teacher_steps["solver"], teacher_steps["timestep_spacing"])
    return teacher_steps.assign(solver=list(names))


def steps_table(params: Mapping[str, Any], scores: Mapping[str, Any], teacher_steps: pd.DataFrame) -> pd.DataFrame:
    """Network calls against distance: the teacher's rows, then the evaluated teacher, student before and student.

    Args:
        params: the whole params file as nested dictionaries.
        scores: the evaluation's scores, schema of metrics.json.
        teacher_steps: the table of `dmd steps`; may be empty. Rows without scores are left out.

    Returns:
        Columns `STEPS`; `distance` is the scores' Fréchet distance. It falls with the number of samples: only rows of
        the same `num_samples` compare.
    """
    key, evaluate = distance_key(scores), params["evaluate"]
    rows = with_spacing(teacher_steps).rename(columns={key: "distance"}).assign(model="teacher")
    solver, spacing = evaluate["solver"], evaluate["timestep_spacing"]
    setting = {"solver": name_solver(solver, spacing), "num_steps": evaluate["num_steps"]}
    settings: dict[str, dict[str, Any]] = {
        "teacher": setting | {"guidance_scale": params["guidance_scale"]},
        "student_before": {"num_steps": len(params["distill"]["generator_timesteps"])},
        "student": {"num_steps": len(params["distill"]["generator_timesteps"])},
    }
    for model, known in settings.items():
        entry = scores[model]
        kept = {name: entry.get(name) for name in ("nfe", "seconds_per_image", "num_samples")}
        row = pd.DataFrame([{"model": model, **known, **kept, "distance": entry[key]}])
        rows = pd.concat([rows, row], ignore_index=True) if len(rows) else row
    return rows.dropna(subset=["distance"], ignore_index=True).reindex(columns=STEPS)
