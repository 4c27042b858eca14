"""Scores: what is summed up does not depend on batches, and every model is drawn from the same noises."""

import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from dmd.evaluation import frechet_distance
from dmd.features import LeNet
from dmd.rng import Stream, sample_noise
from dmd.scores import Noises, TimedModel, first_samples, score, score_models, summarise, summarise_pixels

CPU = torch.device("cpu")
NOISES = Noises(seed=3, count=45, shape=(1, 28, 28), num_classes=10, device=CPU)


@pytest.fixture(scope="module")
def net() -> LeNet:
    torch.manual_seed(0)
    return LeNet(block_out_channels=(2, 3), feature_dim=4).eval()


def images(count: int) -> torch.Tensor:
    return torch.rand(count, 1, 28, 28, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.mark.parametrize("batch_size", [1, 7, 45, 64])
def test_noises_do_not_depend_on_the_batches(batch_size: int) -> None:
    z, labels = (torch.cat(parts) for parts in zip(*NOISES.batches(batch_size), strict=True))
    assert torch.equal(z, sample_noise(3, range(45), (1, 28, 28), Stream.EVALUATION))
    assert labels.tolist() == [index % 10 for index in range(45)]


def test_noises_of_a_model_without_classes_have_no_labels() -> None:
    assert all(labels is None for _, labels in replace(NOISES, num_classes=None).batches(20))


def test_summary_is_that_of_the_whole(net: LeNet) -> None:
    whole, labels = images(50), torch.arange(50) % 10
    summary = summarise(net, zip(whole.split(8), labels.split(8), strict=True), 50)
    with torch.no_grad():
        features, logits = net(whole)
    torch.testing.assert_close(summary.features, features)
    np.testing.assert_allclose(summary.moments.mean, features.double().mean(0), rtol=1e-5)
    np.testing.assert_allclose(summary.moments.covariance, np.cov(features.double().numpy(), rowvar=False), rtol=1e-4)
    assert summary.class_accuracy == pytest.approx((logits.argmax(1) == labels).double().mean().item())


@pytest.mark.parametrize("kept", [1, 7, 49, 50, 90])
def test_kept_features_are_spread_evenly(net: LeNet, kept: int) -> None:
    whole = images(50)
    summary = summarise(net, ((part, None) for part in whole.split(9)), 50, max_kept=kept)
    with torch.no_grad():
        features = net(whole)[0]
    rows = [(features - row).abs().sum(1).argmin().item() for row in summary.features]
    assert len(rows) == min(kept, 50)
    assert summary.class_accuracy is None
    gaps = torch.tensor([-1, *rows]).diff()
    assert gaps.min() >= 1
    assert gaps.max() <= -(-50 // kept)


def test_stored_pixels_are_seen_as_images(net: LeNet) -> None:
    pixels = torch.randint(0, 256, (12, 1, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    summary = summarise_pixels(net, pixels, None, 5, CPU)
    with torch.no_grad():
        torch.testing.assert_close(summary.features, net(pixels.float() / 127.5 - 1)[0])


def test_stopwatch_counts_the_model_alone() -> None:
    def model(z: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        time.sleep(0.02)
        return z

    timed = TimedModel(model, CPU)
    for z, labels in NOISES.batches(15):
        assert torch.equal(timed(z, labels), z)
    assert timed.images == 45
    assert timed.seconds_per_image >= 3 * 0.02 / 45


def test_a_model_that_draws_the_reference_scores_best(net: LeNet) -> None:
    """One model returns the noises, which cut to [-1, 1] are the reference here; the other is black."""
    z, _ = NOISES.batch(0, 45)
    reference = summarise(net, [(z.clamp(-1, 1), None)], 45)
    models = {"same": lambda z, labels: z, "black": lambda z, labels: torch.full_like(z, -1)}
    scores, summaries = score_models(net, models, reference, NOISES, 20, "lenet")
    assert scores["same"]["fd_lenet"] < 1e-9 < scores["black"]["fd_lenet"]
    assert (scores["same"]["precision"], scores["same"]["recall"]) == (1, 1)
    assert scores["black"]["recall"] < 1
    assert scores["same"]["num_samples"] == 45
    assert "class_accuracy" in scores["black"]
    assert scores["black"]["fd_lenet"] == frechet_distance(summaries["black"].moments, reference.moments)
    assert set(score(reference, reference, "x", 0)) == {
        "fd_x", "kid_x", "kid_x_standard_error", "precision", "recall", "num_samples",
    }  # fmt: skip


def test_first_samples_are_cut_to_the_range_and_carry_their_noise() -> None:
    grid = first_samples({"twice": lambda z, labels: 2 * z}, NOISES, 20)
    assert torch.equal(grid["twice"], (2 * grid["z"]).clamp(-1, 1))
    assert grid["label"].bincount().tolist() == [2] * 10
    assert first_samples({}, replace(NOISES, num_classes=None), 5)["label"].tolist() == [-1] * 5
