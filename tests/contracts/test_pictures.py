"""Pictures show the samples they say, where they say, and equal numbers give equal files."""

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from dmd.pictures import (
    PADDING,
    grid_order,
    history_picture,
    image_grid,
    losses_figure,
    milestones,
    save_picture,
)


def blocks(values, size=8):
    """One flat image for each value in [-1, 1], [N, 1, size, size]."""
    return torch.tensor(values, dtype=torch.float32)[:, None, None, None].expand(-1, 1, size, size).contiguous()


def losses(steps):
    step = np.arange(1, steps + 1)
    return pd.DataFrame(
        {"step": step, "distribution_matching": 1 / step, "regression": 2 / step, "fake": 0.3 + 0 * step}
    )


def test_grid_columns_are_classes():
    labels = torch.tensor([2, 0, 1] * 20)
    order = grid_order(labels, len(labels)).reshape(10, 3)
    assert labels[order].tolist() == [[0, 1, 2]] * 10
    assert order[:, 0].tolist() == [1 + 3 * row for row in range(10)]
    assert grid_order(None, 60, columns=10, rows=10).tolist() == list(range(60))
    assert grid_order(torch.tensor([0, 0, 1]), 3).tolist() == [0, 2]


def test_grid_places_each_image(tmp_path):
    values = [-1.0, 0.0, 1.0, 5.0, -5.0, 0.5]
    picture = image_grid(blocks(values), columns=3, enlarge=2)
    assert picture.size == (2 * (3 * (8 + PADDING) + PADDING), 2 * (2 * (8 + PADDING) + PADDING))
    pixels = np.asarray(picture)
    middles = [pixels[2 * (6 + 10 * (i // 3)), 2 * (6 + 10 * (i % 3)), 0] for i in range(6)]
    assert middles == [0, 128, 255, 255, 0, 191]

    save_picture(picture, tmp_path / "grid.png")
    with Image.open(tmp_path / "grid.png") as read:
        assert np.array_equal(np.asarray(read), pixels)
        assert not read.info


def test_figures_carry_no_metadata_of_time_or_version(tmp_path):
    save_picture(losses_figure(losses(20)), tmp_path / "losses.png")
    with Image.open(tmp_path / "losses.png") as read:
        assert set(read.info) <= {"dpi"}


def test_losses_show_the_whole_run_and_its_ends():
    axes = losses_figure(losses(200), parts=10).axes
    spans = [axis.lines[0].get_xdata() for axis in axes[:3]]
    assert [(span[0], span[-1]) for span in map(list, spans)] == [(1, 200), (1, 20), (181, 200)]
    assert axes[1].get_ylim() == axes[2].get_ylim()


def test_history_shows_pairs_then_four_steps():
    """Panels from dark to light, told apart by their mean brightness."""
    shades = {step: (20 + step / 10) / 127.5 - 1 for step in range(0, 901, 100)}
    history = {f"images_step_{step:05d}": blocks([shade] * 20) for step, shade in shades.items()}
    pixels = np.asarray(history_picture(history | {"x0_pair": blocks([-1.0] * 20)}))
    panels = np.array_split(pixels[40:-8, :, 0], 5, axis=1)
    shown = [int(np.median(panel)) for panel in panels]
    assert shown == [0, 20, 50, 80, 110]
    assert milestones([0, 80, 160, 240, 320, 400, 480, 560, 640, 720, 800]) == [0, 240, 560, 800]
    assert milestones([0, 5]) == [0, 5]
    with pytest.raises(ValueError, match="images_step_"):
        history_picture({"x0_pair": blocks([0.0])})
