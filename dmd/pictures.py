"""Pictures as PNG files: sample grids, the history of fixed noises, loss curves. Equal numbers give equal bytes."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import torch
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torchvision.utils import make_grid

from dmd.types import Images, Labels

PADDING = 2
"""Pixels between the images of a grid, before enlargement."""

LOSSES = {
    "distribution_matching": "distribution matching",
    "regression": "regression",
    "fake": "fake score",
}
"""Columns of losses.csv and their titles."""

COLOURS = ("#3b6fb6", "#c2682d", "#4a8a5b")

STEP_PREFIX = "images_step_"


def grid_order(labels: Labels | None, count: int, columns: int = 10, rows: int = 10) -> Tensor:
    """Indices that lay `count` samples row by row, at most `rows` rows, int64 [rows · columns].

    With labels, column k holds samples of the k-th class that occurs (at most `columns` of them), in their order, and
    there are as many rows as the rarest class fills; without, the first samples.
    """
    if labels is None:
        return torch.arange(min(count, rows * columns))
    columns_of = [torch.nonzero(labels[:count] == label).flatten() for label in labels[:count].unique()[:columns]]
    height = min(rows, *(len(column) for column in columns_of), count)
    return torch.stack([column[:height] for column in columns_of], dim=1).flatten()


def grid_width(labels: Labels | None, columns: int = 10) -> int:
    """Columns of the grid that `grid_order` lays out."""
    return columns if labels is None else min(columns, len(labels.unique()))


def image_grid(images: Images, columns: int, enlarge: int = 2) -> Image.Image:
    """Images in [-1, 1] (clipped), row by row, each pixel `enlarge` pixels wide; one channel or three."""
    shown = make_grid(images.float().clamp(-1, 1) / 2 + 0.5, nrow=columns, padding=PADDING, pad_value=0.5)
    pixels = (shown * 255).round().to(torch.uint8).permute(1, 2, 0)
    picture = Image.fromarray(pixels.numpy())
    return picture.resize((picture.width * enlarge, picture.height * enlarge), Image.Resampling.NEAREST)


def history_steps(history: Mapping[str, Tensor]) -> list[int]:
    """Steps at which the fixed noises were drawn, ascending; from the names `images_step_<step>`."""
    return sorted(int(name.removeprefix(STEP_PREFIX)) for name in history if name.startswith(STEP_PREFIX))


def milestones(steps: Sequence[int]) -> list[int]:
    """Of ascending `steps`, those nearest to the start, a third, two thirds and the end; no step twice."""
    wanted = [steps[0] + (steps[-1] - steps[0]) * part / 3 for part in range(4)]
    return sorted({min(steps, key=lambda step: abs(step - aim)) for aim in wanted})


def history_picture(history: Mapping[str, Tensor], columns: int = 4, rows: int = 5) -> Image.Image:
    """The pre-computed images beside the one-step images of the same noises at four steps of the training.

    Raises:
        ValueError: the history holds no step.
    """
    steps = history_steps(history)
    if not steps:
        raise ValueError(f"the history has no {STEP_PREFIX}<step> among {sorted(history)}; run distill again")
    named = {f"{STEP_PREFIX}{step:05d}": f"step {step}" for step in milestones(steps)}
    panels = {"pre-computed": history["x0_pair"]} | {title: history[name] for name, title in named.items()}
    count = columns * rows
    return side_by_side({title: image_grid(images[:count], columns) for title, images in panels.items()})


def side_by_side(panels: Mapping[str, Image.Image], gap: int = 16, caption: int = 26) -> Image.Image:
    """Pictures in a row on white, each under its title."""
    width = sum(panel.width for panel in panels.values()) + gap * (len(panels) - 1)
    sheet = Image.new("RGB", (width, caption + max(panel.height for panel in panels.values())), "white")
    draw = ImageDraw.Draw(sheet)
    left = 0
    for title, panel in panels.items():
        draw.text((left + 2, 2), title, fill="#222222", font=ImageFont.load_default(size=16))
        sheet.paste(panel, (left, caption))
        left += panel.width + gap
    return sheet


def losses_figure(losses: pd.DataFrame, parts: int = 10) -> Figure:
    """Each loss over the whole run, and its first beside its last part (a `parts`-th of the steps) on one scale.

    `losses` has a column `step` and those of `LOSSES`; values that are missing or not finite are left out.
    """
    figure = Figure(figsize=(11, 6.5), layout="constrained")
    axes = figure.subplots(len(LOSSES), 3, width_ratios=[2, 1, 1])
    size = max(2, -(-len(losses) // parts))
    spans = {"whole run": losses, "first part": losses.head(size), "last part": losses.tail(size)}
    for row, (name, title) in enumerate(LOSSES.items()):
        for axis, (span, part) in zip(axes[row], spans.items(), strict=True):
            axis.plot(part["step"], part[name], color=COLOURS[row], linewidth=0.6, alpha=0.4)
            window = max(1, len(part) // 25)
            axis.plot(part["step"], part[name].rolling(window, center=True, min_periods=1).mean(), color=COLOURS[row])
            axis.grid(alpha=0.25)
            axis.spines[["top", "right"]].set_visible(False)
            if row == 0:
                axis.set_title(span)
            if row == len(LOSSES) - 1:
                axis.set_xlabel("generator update")
        axes[row][0].set_ylabel(title)
        axes[row][1].sharey(axes[row][2])
    return figure


def save_picture(picture: Image.Image | Figure, path: Path) -> None:
    """Write a PNG without time or version in it."""
    if isinstance(picture, Figure):
        picture.savefig(path, dpi=100, metadata={"Software": None})
    else:
        picture.save(path, optimize=True)
