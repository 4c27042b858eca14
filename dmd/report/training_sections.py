"""What the page says of the training: its pictures, losses, health and what both scores see."""

from collections.abc import Mapping
from typing import Any

from dmd.report.curves import (
    health_curves,
    losses_curves,
    snapshot_curves,
)
from dmd.report.page import Curves, Gallery, Picture, Section, Slider, Table
from dmd.report.pictures import (
    STEP_PREFIX,
    history_panels,
    history_steps,
    image_grid,
    score_panels,
    thumbnails,
    to_png,
)
from dmd.report.results import Run
from dmd.report.tables import distance_key

HISTORY_COLUMNS = 5
"""Of the pictures of the fixed noises."""


def history_chapter(run: Run) -> Section:
    """Pairs beside the student's images of their noises at the start, a third, two thirds and the end."""
    panels = history_panels(run.history, run.epoch)
    pictures = [
        Picture(to_png(image_grid(thumbnails(panel), HISTORY_COLUMNS)), title) for title, panel in panels.items()
    ]
    note = f"The images of the first {len(run.history['x0_pair'])} pairs, and the student's from the same noises."
    return Section("Pairs and what the student makes of their noises", note, [Gallery(pictures, "panels")])


def slider_chapter(run: Run) -> Section:
    """The fixed noises through the training, one step of it at a time."""
    pictures = []
    for step in history_steps(run.history):
        caption = f"after {step:,} updates, epoch {step / run.epoch:.3g}"
        drawn = thumbnails(run.history[f"{STEP_PREFIX}{step:05d}"])
        pictures.append(Picture(to_png(image_grid(drawn, HISTORY_COLUMNS)), caption))
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
        Picture(to_png(image_grid(thumbnails(panel), columns)), f"after {step:,} updates")
        for step, (panel, columns) in score_panels(run.history).items()
    ]
    blocks = [Slider(pictures, "generator update")] if pictures else []
    return Section("What both scores see", note, blocks)
