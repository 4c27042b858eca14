"""Pictures show the samples they say, where they say, and equal numbers give equal files."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from dmd.report.pictures import (
    PADDING,
    grid_order,
    history_panels,
    image_grid,
    milestones,
    score_panels,
    side_by_side,
    thumbnails,
    to_png,
)


def blocks(values, size=8):
    """One flat image for each value in [-1, 1], [N, 1, size, size]."""
    return torch.tensor(values, dtype=torch.float32)[:, None, None, None].expand(-1, 1, size, size).contiguous()


def test_grid_columns_are_classes():
    labels = torch.tensor([2, 0, 1] * 20)
    order = grid_order(labels, len(labels)).reshape(10, 3)
    assert labels[order].tolist() == [[0, 1, 2]] * 10
    assert order[:, 0].tolist() == [1 + 3 * row for row in range(10)]
    assert grid_order(None, 60, columns=10, rows=10).tolist() == list(range(60))
    assert grid_order(torch.tensor([0, 0, 1]), 3).tolist() == [0, 2]


def test_grid_places_each_image():
    values = [-1.0, 0.0, 1.0, 5.0, -5.0, 0.5]
    picture = image_grid(blocks(values), columns=3, enlarge=2)
    assert picture.size == (2 * (3 * (8 + PADDING) - PADDING), 2 * (2 * (8 + PADDING) - PADDING))
    pixels = np.asarray(picture)
    middles = [pixels[2 * (4 + 10 * (i // 3)), 2 * (4 + 10 * (i % 3))].tolist() for i in range(6)]
    assert middles == [[value, 255] for value in (0, 128, 255, 255, 0, 191)]
    assert pixels[2 * 9, 2 * 9, 1] == 0  # between the images

    with Image.open(io.BytesIO(to_png(picture))) as read:
        assert np.array_equal(np.asarray(read), pixels)
        assert not read.info


def test_colours_stay_in_their_channels():
    image = torch.tensor([1.0, -1.0, 0.0])[None, :, None, None].expand(1, 3, 4, 4)
    assert np.asarray(image_grid(image, 5))[2, 2].tolist() == [255, 0, 128, 255]


def test_history_shows_pairs_then_four_steps():
    """Panels told apart by their brightness, side by side in their order."""
    shades = {step: (20 + step / 10) / 127.5 - 1 for step in range(0, 901, 100)}
    history = {f"images_step_{step:05d}": blocks([shade] * 20) for step, shade in shades.items()}
    panels = history_panels(history | {"x0_pair": blocks([-1.0] * 20)}, 150.0)
    titles = ["epoch 0, step 0", "epoch 2, step 300", "epoch 4, step 600", "epoch 6, step 900"]
    assert list(panels) == ["pre-computed pairs", *titles]
    sheet = side_by_side({title: image_grid(images, 4, 2) for title, images in panels.items()})
    parts = np.array_split(np.asarray(sheet)[40:-8, :, 0], 5, axis=1)
    shown = [int(np.median(part[part < 255])) for part in parts]
    assert shown == [0, 20, 50, 80, 110]
    assert milestones([0, 80, 160, 240, 320, 400, 480, 560, 640, 720, 800]) == [0, 240, 560, 800]
    assert milestones([0, 5]) == [0, 5]
    with pytest.raises(ValueError, match="images_step_"):
        history_panels({"x0_pair": blocks([0.0])}, 150.0)


def test_a_score_panel_shows_images_both_answers_and_their_difference():
    """A block a noise level, from little noise to much; the difference is what matching follows."""
    real, fake = torch.tensor([0.5, 0.25, 0.0]), torch.tensor([-0.25, 0.25, 0.5])
    found = torch.stack([real, fake], 1)[:, :, None, None, None, None].expand(3, 2, 2, 1, 8, 8)
    images = blocks([-1.0, -0.5, 0.9])
    panels = score_panels({"images_step_00000": images, "images_step_00040": images, "panel_step_00040": found})
    assert list(panels) == [40], "a step without a panel has none"
    panel, columns = panels[40]
    assert columns == 2
    rows = panel.mean((1, 2, 3)).reshape(3, 4, 2)
    assert rows[:, 0].tolist() == [[-1.0, -0.5]] * 3
    torch.testing.assert_close(rows[:, 1:, 0], torch.stack([real, fake, torch.tensor([0.75, 0.0, -0.5])], 1))


def test_large_images_are_shown_as_means_of_squares_and_small_ones_as_they_are():
    small, large = torch.rand(2, 3, 64, 64), torch.rand(2, 3, 130, 260)
    assert thumbnails(small) is small
    shown = thumbnails(large)
    assert shown.shape == (2, 3, 43, 86)
    torch.testing.assert_close(shown[0, 1, 2, 3], large[0, 1, 6:9, 9:12].mean())
