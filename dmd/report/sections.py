"""The sections of the report page, each from a run: what it shows, and the sentence that says of how many, and how."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
import torch
import yaml
from torch import Tensor

from dmd.report.curves import (
    exactness_curves,
    steps_curves,
    timesteps_curves,
)
from dmd.report.page import Curves, Folded, Gallery, Picture, Section, Table
from dmd.report.pictures import (
    SMALL,
    grid_order,
    grid_width,
    image_grid,
    to_png,
)
from dmd.report.results import Run
from dmd.report.tables import distance_key, parameter_table, score_table, steps_table, titles
from dmd.report.training_sections import (
    health_chapter,
    history_chapter,
    losses_chapter,
    scores_chapter,
    slider_chapter,
    snapshot_chapter,
)

STRIP = 10
"""Samples of each class."""


def all_chapters(run: Run, scores: Mapping[str, Any]) -> list[Section]:
    """Every section that the run has something for, in order; `scores` are the rounded ones."""
    sections = [
        talk_pictures(run),
        score_chapter(run, scores),
        steps_chapter(run, scores),
        timesteps_chapter(run, scores),
        history_chapter(run),
        slider_chapter(run),
        losses_chapter(run),
        snapshot_chapter(run, scores),
        health_chapter(run),
        scores_chapter(run),
        per_class_chapter(run, scores),
        neighbours_chapter(run),
        worst_chapter(run),
        parameters_chapter(run),
        origin_chapter(run, scores),
    ]
    return [section for section in sections if section.blocks]


def talk_pictures(run: Run) -> Section:
    """The talk's three pictures: the teacher, the student before and after, from the same noises and labels."""
    evaluate, labels = run.params["evaluate"], run.labels
    steps = len(run.params["distill"]["generator_timesteps"])
    student = run.samples["student"]
    side = 10 if student.shape[2] <= SMALL else 4
    order = grid_order(labels, len(student), side, side)
    solver = f"{evaluate['solver']}, {evaluate['num_steps']} steps"
    captions = {
        "teacher": f"Usual {evaluate['num_steps']}-step generation: the teacher, {solver}",
        "student_before": f"{steps}-step generation before distillation",
        "student": f"{steps}-step generation after distillation",
    }
    pictures = [
        Picture(to_png(image_grid(run.samples[name][order], grid_width(labels, side))), caption)
        for name, caption in captions.items()
    ]
    note = f"The same {len(order)} noises in all three" + ("." if labels is None else ", each column a class.")
    return Section("Samples", note, [Gallery(pictures)])


def score_chapter(run: Run, scores: Mapping[str, Any]) -> Section:
    """The table of scores, and the times for one image and for a batch where they were measured."""
    table, student = score_table(scores).transpose(), scores["student"]
    note = (
        f"Every model from the same noises and labels, {student['num_samples']:,} samples a set, against the real "
        f"training images in the features of {run.params['evaluate']['features']}. A spread is the standard deviation "
        "over disjoint sets of noises. The last column is what real images reach that were not used for training."
    )
    if "latency" not in scores:
        return Section("Scores", note, [Table(table)])
    times = pd.DataFrame(scores["latency"])[["teacher", "student_before", "student"]].rename(columns=titles(scores))
    return Section("Scores", note, [Table(table), Table(times)])


def steps_chapter(run: Run, scores: Mapping[str, Any]) -> Section:
    """Distance over network calls and over seconds, the student as a mark of its calls."""
    steps = steps_table(run.params, scores, run.teacher_steps)
    note = (
        "Lower is better, on both axes logarithmic. The distance falls with the number of samples n: compare marks of "
        "the same n. Seconds are those of the machine that made the row."
    )
    curves = steps_curves(steps, distance_key(scores))
    own = scores["run"].get("teacher_sha256", "")[:8]
    if "teacher" in run.teacher_steps and (others := set(run.teacher_steps["teacher"].dropna()) - {own}):
        note += f" The teacher's curves are of the teacher {', '.join(sorted(others))}; that of this run is {own}."
    if "rmse_to_exact" in run.teacher_steps:
        note += " The exact solution is that of 1000 steps of DDIM from the same noise; pixels lie in [-1, 1]."
        curves |= exactness_curves(run.teacher_steps)
    table = steps.assign(num_samples=steps["num_samples"].map("{:,.0f}".format)).set_index("model")
    table = table.rename(index=titles(scores))
    return Section("Steps against distance", note, [Curves(curves), Table(table)])


def timesteps_chapter(run: Run, scores: Mapping[str, Any]) -> Section:
    """One call of the teacher's network over the timestep of that call; nothing where it was not measured."""
    timesteps, key = run.timesteps, distance_key(scores)
    if key not in timesteps:
        return Section("Timestep of the one step", "", [])
    note = f"Before distillation, {timesteps['num_samples'].max():,} samples a row; dotted: what this run was given."
    curves = timesteps_curves(timesteps, key, run.params["distill"]["generator_timesteps"][0])
    table = timesteps.set_index("generator_timestep")
    return Section("Timestep of the one step", note, [Curves(curves), Table(table)])


def per_class_chapter(run: Run, scores: Mapping[str, Any]) -> Section:
    """The accuracy of each class beside samples of it; nothing for models without labels."""
    labels, table = run.labels, run.per_class
    if labels is None or not len(table):
        return Section("Classes", "", [])
    accuracy = table.pivot(index="label", columns="model", values="class_accuracy")
    names = titles(scores)
    accuracy = accuracy[[name for name in names if name in accuracy]].rename(columns=names)
    counts = table[table["model"] == "student"].set_index("label")["count"].reindex(accuracy.index)
    strips = [
        Picture(to_png(image_grid(_strip(run.samples["student"], labels, label), STRIP)), f"samples of class {label}")
        for label in map(int, accuracy.index)
    ]
    note = (
        "Share of the samples that the feature net puts into the class they were asked for; n samples of the student."
    )
    return Section("Classes", note, [Table(accuracy.assign(n=counts.map("{:,}".format)), strips)])


def neighbours_chapter(run: Run) -> Section:
    """Samples above their nearest training images in feature space."""
    pairs = zip(run.neighbours["student"], run.neighbours["nearest"], strict=True)
    pictures = [
        Picture(to_png(image_grid(torch.stack(pair), 1)), f"{distance:.3g}", "a sample, and the nearest training image")
        for pair, distance in zip(pairs, run.neighbours["distance"].tolist(), strict=True)
    ]
    note = (
        f"The student's first {len(pictures)} samples, each above the training image whose features are nearest, and "
        "the distance between them. A copy of a training image would have a distance near 0."
    )
    return Section("Nearest training images", note, [Gallery(pictures, "small")])


def worst_chapter(run: Run) -> Section:
    """The samples farthest from the training images, with noise and distance, to be drawn again."""
    worst = run.worst
    labels = [f"class {label}, " if label >= 0 else "" for label in worst["label"].tolist()]
    rows = zip(worst["student"], worst["distance"].tolist(), worst["index"].tolist(), labels, strict=True)
    pictures = [
        Picture(to_png(image_grid(image[None], 1)), f"{distance:.3g}; {label}noise {index}")
        for image, distance, index, label in rows
    ]
    note = f"Of all scored samples of the student, the {len(pictures)} farthest from any training image's features."
    return Section("Worst samples", note, [Gallery(pictures, "small")])


def parameters_chapter(run: Run) -> Section:
    """The talk's table of parameters, with what was really used."""
    table = parameter_table(run.params, run.training)
    beside = " beside the talk's; where the two differ, docs say why" if "the talk" in table else ""
    return Section("Parameters", f"What was used{beside}.", [Table(table, text=True)])


def origin_chapter(run: Run, scores: Mapping[str, Any]) -> Section:
    """From what, on what and how fast; and every parameter."""
    facts = scores.get("run", {}) | scores.get("speed", {})
    table = pd.DataFrame({"value": facts}, dtype=object)
    text = yaml.safe_dump(dict(run.params), sort_keys=False, allow_unicode=True)
    note = "The hashes name the content of the inputs, whatever their files are called. Below, the whole params file."
    return Section("What ran", note, [Table(table, text=True), Folded(text)])


def _strip(images: Tensor, labels: Tensor, label: int) -> Tensor:
    return images[labels[: len(images)] == label][:STRIP]
