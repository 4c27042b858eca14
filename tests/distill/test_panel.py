"""The panel shows what both scores see: at the noise that it says, the same noise at each call."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from dmd.datasets.pairs import PairStore
from dmd.diffusion.denoiser import Denoiser
from dmd.distill.panel import PANEL_IMAGES, draw_panel, noise_levels
from tests.distill.methods import NOISE, build_method
from tests.distill.test_distiller import T, pairs, teacher

__all__ = ["pairs", "teacher"]  # fixtures


def fixed(count: int) -> tuple[Tensor, Tensor]:
    """Images in [-1, 1] and their classes."""
    x = torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(5)) * 2 - 1
    return x, torch.arange(count) % 4


def test_the_levels_halve_each_third_of_the_range() -> None:
    low, middle, high = noise_levels((0.01, 10.0))
    assert middle == pytest.approx(math.sqrt(0.01 * 10.0))
    assert [low, high] == pytest.approx([0.01 * math.sqrt(10), 10 / math.sqrt(10)])


def test_both_scores_see_the_same_noise_at_three_levels(teacher: Denoiser, pairs: PairStore) -> None:
    run, (x, labels), asked = build_method(teacher, pairs), fixed(PANEL_IMAGES), []

    def seen(x_t: Tensor, t: Tensor, classes: Tensor | None) -> Tensor:
        assert classes is not None
        assert classes.tolist() == labels.tolist()
        asked.append(int(t[0]))
        return x_t

    run.scores = replace(run.scores, real=seen, fake=lambda x_t, t, classes: -seen(x_t, t, classes))
    panel = draw_panel(run, x, labels)
    torch.testing.assert_close(panel[:, 0], -panel[:, 1])
    kept = torch.cumprod(1 - torch.linspace(1e-3, 0.1, T, dtype=torch.float64), 0)
    signal, noise = kept.sqrt(), (1 - kept).sqrt()
    nearest = [
        min(range(T), key=lambda k: abs(math.log(noise[k] / signal[k] / level))) for level in noise_levels(NOISE)
    ]
    assert asked[::2] == asked[1::2] == nearest
    eps = [(x_t - signal[k] * x) / noise[k] for x_t, k in zip(panel[:, 0], nearest, strict=True)]
    torch.testing.assert_close(eps[0], eps[1], atol=1e-4, rtol=0)
    torch.testing.assert_close(eps[0], eps[2], atol=1e-4, rtol=0)
    assert abs(eps[0].mean()) < 0.15
    assert eps[0].std() == pytest.approx(1, abs=0.1)


def test_an_untrained_fake_score_sees_what_the_real_one_does_at_each_call(teacher: Denoiser, pairs: PairStore) -> None:
    run, (x, labels) = build_method(teacher, pairs), fixed(PANEL_IMAGES + 3)
    whole = draw_panel(run, x, labels)
    assert whole.shape[2] == PANEL_IMAGES
    assert torch.equal(whole[:, 0], whole[:, 1]), "before any update the fake score is the real one"
    assert torch.equal(whole, draw_panel(run, x, labels))
    torch.testing.assert_close(draw_panel(run, x[:2], labels[:2]), whole[:, :, :2])
