"""Pictures as PNG: sample grids, the history of fixed noises. Equal numbers give equal bytes."""

import io
from collections.abc import Mapping, Sequence

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn import functional

from dmd.types import Images, Labels

PADDING = 2
"""Pixels between the images of a grid, before enlargement."""

SMALL = 64
"""Height of the largest images that grids enlarge, and have a hundred of."""

STEP_PREFIX = "images_step_"
PANEL_PREFIX = "panel_step_"


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


def image_grid(images: Images, columns: int, enlarge: int = 1) -> Image.Image:
    """Images in [-1, 1] (clipped), row by row, each pixel `enlarge` pixels wide, on a transparent ground.

    One channel or three, to mode LA or RGBA; `columns` is cut to the number of images.
    """
    pixels = (images.float().clamp(-1, 1) / 2 + 0.5).cpu()
    opaque = torch.cat([pixels, torch.ones_like(pixels[:, :1])], dim=1)
    rows = -(-len(opaque) // columns)
    height, width = (size + PADDING for size in opaque.shape[-2:])
    sheet = torch.zeros(opaque.shape[1], rows * height - PADDING, min(columns, len(opaque)) * width - PADDING)
    for number, image in enumerate(opaque):
        top, left = number // columns * height, number % columns * width
        sheet[:, top : top + height - PADDING, left : left + width - PADDING] = image
    values = (sheet * 255).round().to(torch.uint8).permute(1, 2, 0)
    picture = Image.fromarray(values.numpy(), "LA" if values.shape[2] == 2 else "RGBA")
    return picture.resize((picture.width * enlarge, picture.height * enlarge), Image.Resampling.NEAREST)


def thumbnails(images: Images) -> Tensor:
    """Images for a page: large ones as means over squares of pixels, so that their shorter side is `SMALL` at most."""
    factor = -(-min(images.shape[2:]) // SMALL)
    return images if factor == 1 else functional.avg_pool2d(images.float(), factor)


def history_steps(history: Mapping[str, Tensor]) -> list[int]:
    """Steps at which the fixed noises were drawn, ascending; from the names `images_step_<step>`."""
    return sorted(int(name.removeprefix(STEP_PREFIX)) for name in history if name.startswith(STEP_PREFIX))


def milestones(steps: Sequence[int]) -> list[int]:
    """Of ascending `steps`, those nearest to the start, a third, two thirds and the end; no step twice."""
    wanted = [steps[0] + (steps[-1] - steps[0]) * part / 3 for part in range(4)]
    return sorted({min(steps, key=lambda step: abs(step - aim)) for aim in wanted})


def history_panels(history: Mapping[str, Tensor], epoch: float) -> dict[str, Images]:
    """The pre-computed images, and the one-step images of the same noises at four steps of the training, by title.

    An epoch is `epoch` updates.

    Raises:
        ValueError: the history holds no step.
    """
    steps = history_steps(history)
    if not steps:
        raise ValueError(f"the history has no {STEP_PREFIX}<step> among {sorted(history)}; run distill again")
    drawn = {
        f"epoch {step / epoch:.3g}, step {step:,}": history[f"{STEP_PREFIX}{step:05d}"] for step in milestones(steps)
    }
    return {"pre-computed pairs": history["x0_pair"]} | drawn


def score_panels(history: Mapping[str, Tensor]) -> dict[int, tuple[Images, int]]:
    """By step: rows of x, D_real(x_t), D_fake(x_t) and their difference, a block a noise level; and the columns."""
    panels = {}
    for step in history_steps(history):
        found = history.get(f"{PANEL_PREFIX}{step:05d}")
        if found is None:
            continue
        columns = found.shape[2]
        x = history[f"{STEP_PREFIX}{step:05d}"][:columns]
        blocks = [torch.cat([x, real, fake, real - fake]) for real, fake in found]
        panels[step] = (torch.cat(blocks), columns)
    return panels


def side_by_side(panels: Mapping[str, Image.Image], gap: int = 16, caption: int = 26) -> Image.Image:
    """Pictures in a row on white, each under its title."""
    width = sum(panel.width for panel in panels.values()) + gap * (len(panels) - 1)
    sheet = Image.new("RGB", (width, caption + max(panel.height for panel in panels.values())), "white")
    draw = ImageDraw.Draw(sheet)
    left = 0
    for title, panel in panels.items():
        draw.text((left + 2, 2), title, fill="#222222", font=ImageFont.load_default(size=16))
        sheet.paste(panel.convert("RGB"), (left, caption), panel.getchannel("A"))
        left += panel.width + gap
    return sheet


def to_png(picture: Image.Image) -> bytes:
    """A PNG without time or version in it."""
    data = io.BytesIO()
    picture.save(data, "PNG", optimize=True)
    return data.getvalue()
