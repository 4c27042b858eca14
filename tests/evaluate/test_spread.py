"""The spread over sets: what it is, and that it is what other noises give."""

import pytest
import torch
from torch import nn

from dmd.evaluate.evaluator import Evaluator
from dmd.evaluate.noises import Noises
from dmd.evaluate.scores import over_sets
from dmd.evaluate.setup import Setup
from dmd.evaluate.summaries import summarise
from dmd.features.perceptual import PixelDistance
from dmd.models.codec import Codec

CPU = torch.device("cpu")
SHAPE = (1, 2, 2)
NO_PIXELS = torch.zeros(0, *SHAPE, dtype=torch.uint8)


class Identity(nn.Module):
    """The features are the pixels; there are no classes."""

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, None]:
        return images.flatten(1), None


def test_mean_and_standard_deviation_by_hand() -> None:
    sets = [{"fd": value, "kid_standard_error": 2 * value, "num_samples": 50} for value in (1.0, 2.0, 6.0)]
    assert over_sets(sets) == {
        "fd": 3, "fd_std": pytest.approx(7**0.5), "kid_standard_error": 6, "num_samples": 50, "num_sets": 3,
    }  # fmt: skip
    assert over_sets(sets[:1]) == {"fd": 1, "kid_standard_error": 2, "num_samples": 50, "num_sets": 1}


def test_sets_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="same num_samples"):
        over_sets([{"fd": 1.0, "num_samples": 5}, {"fd": 1.0, "num_samples": 6}])
    with pytest.raises(ValueError, match="same scores"):
        over_sets([{"a": 5.0}, {"b": 6.0}])
    with pytest.raises(ValueError, match="same scores"):
        over_sets([])


def test_reported_spread_is_that_of_evaluations_with_other_seeds() -> None:
    """Gaussian samples against a wider Gaussian: the spread over an evaluation's sets, in the mean over evaluations.

    The truth is how much one set's scores scatter over evaluations with other seeds. A set's mean of 60 pixels sums,
    the brightness, scatters by a known amount too: 1 / √(60 · 4).
    """
    real = 1.5 * torch.randn(500, 1, 2, 2, generator=torch.Generator().manual_seed(1))
    train = summarise(Identity(), [(real, None)], 500)
    reported, first = [], []
    for seed in range(0, 120, 3):
        noises = Noises(seed, 60, SHAPE, None, CPU)
        setup = Setup(Identity(), "x", NO_PIXELS, train, noises, 60, seed, Codec(SHAPE))
        evaluator = Evaluator(setup, PixelDistance(2), "pixel", 3)
        drawn = evaluator.draw(lambda z, labels: z / 4, "model")
        reported.append(evaluator.score(drawn))
        first.append(evaluator.score(drawn[:1]))
    for name in ("fd_x", "kid_x", "coverage", "nearest_train_distance", "brightness_drift", "pixel_diversity"):
        spread = torch.tensor([scores[f"{name}_std"] for scores in reported]).square().mean().sqrt()
        truth = torch.tensor([scores[name] for scores in first]).std()
        assert 1 / 1.5 < spread / truth < 1.5, name
    brightness = torch.tensor([scores["brightness_drift_std"] for scores in reported]).square().mean().sqrt()
    assert brightness == pytest.approx(0.25 / (60 * 4) ** 0.5, rel=0.25)


def test_merged_distance_is_that_of_all_samples_in_one_set() -> None:
    real = torch.randn(300, 1, 2, 2, generator=torch.Generator().manual_seed(2))
    train = summarise(Identity(), [(real, None)], 300)
    scores = []
    for count, num_sets in ((40, 3), (120, 1)):
        setup = Setup(Identity(), "x", NO_PIXELS, train, Noises(0, count, SHAPE, None, CPU), 17, 0, Codec(SHAPE))
        evaluator = Evaluator(setup, PixelDistance(2), "pixel", num_sets)
        scores.append(evaluator.score(evaluator.draw(lambda z, labels: z / 4, "model")))
    assert scores[0]["fd_x_merged"] == pytest.approx(scores[1]["fd_x"], rel=1e-9)
    assert scores[0]["num_samples_merged"] == scores[1]["num_samples"] == 120
    assert scores[0]["pixel_num_samples"] == 40
    assert not any(name.endswith("_merged") for name in scores[1])
