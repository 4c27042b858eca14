"""The sections of the report page, each from a run: what it shows, and the sentence that says of how many, and how."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
import torch
import yaml
from torch import Tensor

from dmd.report.curves import (
    exactness_curves,
    health_curves,
    losses_curves,
    snapshot_curves,
    steps_curves,
    timesteps_curves,
)
from dmd.report.page import Curves, Folded, Gallery, Picture, Section, Slider, Table
from dmd.report.pictures import (
    STEP_PREFIX,
    grid_order,
    grid_width,
    history_panels,
    history_steps,
    image_grid,
    score_panels,
    to_png,
)
from dmd.report.results import Run
from dmd.report.tables import distance_key, parameter_table, score_table, steps_table

HISTORY_COLUMNS = 5
"""Of the pictures of the fixed noises."""

STRIP = 10
"""Samples of each class."""

TITLES = {"teacher": "teacher", "student_before": "one step, before", "student": "one step, after"}
"""The models, as tables name them."""


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
        per_class_chapter(run),
        neighbours_chapter(run),
        worst_chapter(run),
        parameters_chapter(run),
        origin_chapter(run, scores),
    ]
    return [section for section in sections if section.blocks]


def talk_pictures(run: Run) -> Section:
    """The talk's three pictures: the teacher, one step before and one step after, from the same noises and labels."""
    evaluate, labels = run.params["evaluate"], run.labels
    order = grid_order(labels, len(run.samples["student"]))
    solver = f"{evaluate['solver']}, {evaluate['num_steps']} steps"
    captions = {
        "teacher": f"Usual {evaluate['num_steps']}-step generation: the teacher, {solver}",
        "student_before": "1-step generation before distillation",
        "student": "1-step generation after distillation",
    }
    pictures = [
        Picture(to_png(image_grid(run.samples[name][order], grid_width(labels))), caption)
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
    times = [Table(pd.DataFrame(scores["latency"])[list(TITLES)].rename(columns=TITLES))] if "latency" in scores else []
    return Section("Scores", note, [Table(table), *times])


def steps_chapter(run: Run, scores: Mapping[str, Any]) -> Section:
    """Distance over network calls and over seconds, the student as the one-step mark."""
    steps = steps_table(run.params, scores, run.teacher_steps)
    note = (
        "Lower is better, on both axes logarithmic. The distance falls with the number of samples n: compare marks of "
        "the same n. Seconds are those of the machine that made the row."
    )
    curves = steps_curves(steps, distance_key(scores))
    if "rmse_to_exact" in run.teacher_steps:
        note += " The exact solution is that of 1000 steps of DDIM from the same noise; pixels lie in [-1, 1]."
        curves |= exactness_curves(run.teacher_steps)
    table = steps.assign(num_samples=steps["num_samples"].map("{:,.0f}".format)).set_index("model").rename(index=TITLES)
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


def history_chapter(run: Run) -> Section:
    """Pairs beside the one-step images of their noises at the start, a third, two thirds and the end."""
    panels = history_panels(run.history, run.epoch)
    pictures = [Picture(to_png(image_grid(panel, HISTORY_COLUMNS)), title) for title, panel in panels.items()]
    note = f"The images of the first {len(run.history['x0_pair'])} pairs, and one step from the same noises."
    return Section("Pairs and what one step makes of their noises", note, [Gallery(pictures, "panels")])


def slider_chapter(run: Run) -> Section:
    """The fixed noises through the training, one step of it at a time."""
    pictures = []
    for step in history_steps(run.history):
        caption = f"after {step:,} updates, epoch {step / run.epoch:.3g}"
        pictures.append(Picture(to_png(image_grid(run.history[f"{STEP_PREFIX}{step:05d}"], HISTORY_COLUMNS)), caption))
    note = "The same noises, drawn by the averaged weights as training goes on."
    return Section("Through the training", note, [Slider(pictures, "generator update")])


def losses_chapter(run: Run) -> Section:
    """The three losses: whole run, first epoch, a later one."""
    note = (
        f"Thin: each update; bold: its running mean. An epoch is one pass over the pairs, {run.epoch:,.4g} "
        f"update{'' if run.epoch == 1 else 's'}. "
        "The first and the later epoch have the same scale. The regression is shown before its weight "
        f"alpha = {run.params['alpha']:g}."
    )
    return Section("Losses", note, [Curves(losses_curves(run.losses, run.epoch))])


def health_chapter(run: Run) -> Section:
    """The curves of the health table."""
    note = (
        f"Measured every {run.params['distill']['health_steps']} updates. Variety 1 means that the images of a batch "
        "differ from one another as much as the pairs' do."
    )
    return Section("Health of the training", note, [Curves(health_curves(run.health))] if len(run.health) else [])


def snapshot_chapter(run: Run, scores: Mapping[str, Any]) -> Section:
    """The distance through the training, where snapshots were kept."""
    key = distance_key(scores)
    if key not in run.curve:
        return Section("Is it converging?", "", [])
    note = (
        f"The averaged generator at each epoch, {run.curve['num_samples'].max():,} samples: compare the points with "
        "one another, not with scores of another number of samples."
    )
    return Section("Is it converging?", note, [Curves(snapshot_curves(run.curve, key)), Table(run.curve)])


def scores_chapter(run: Run) -> Section:
    """What both scores see in the same noisy images, an epoch at a time."""
    levels = ", ".join(f"{level:.2g}" for level in run.training.get("noise_levels", []))
    note = (
        f"Each block: images x, then what the real and the fake score see in them through noise, and the difference, "
        f"which is what matching follows (grey: none). Blocks from little noise to much, σ/α = {levels}."
    )
    pictures = [
        Picture(to_png(image_grid(panel, columns)), f"after {step:,} updates")
        for step, (panel, columns) in score_panels(run.history).items()
    ]
    blocks = [Slider(pictures, "generator update")] if pictures else []
    return Section("What both scores see", note, blocks)


def per_class_chapter(run: Run) -> Section:
    """The accuracy of each class beside samples of it; nothing for models without labels."""
    labels, table = run.labels, run.per_class
    if labels is None or not len(table):
        return Section("Classes", "", [])
    accuracy = table.pivot(index="label", columns="model", values="class_accuracy")
    names = TITLES | {"test": "real test images"}
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
