"""Scores: what is summed up does not depend on batches, and every model is drawn from the same noises."""

import time
import weakref
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from dmd.diffusion.rng import Stream, sample_noise
from dmd.evaluate.evaluator import Evaluator
from dmd.evaluate.frechet import frechet_distance
from dmd.evaluate.latency import TimedModel, latency, median_seconds
from dmd.evaluate.noises import Noises
from dmd.evaluate.scores import distance_name, diversity, perceptual_distance, perceptual_stem, score
from dmd.evaluate.setup import Setup
from dmd.evaluate.summaries import MAX_KEPT, Summary, kept_rows, summarise, summarise_pixels
from dmd.features.lenet import LeNet
from dmd.features.perceptual import PixelDistance
from dmd.models.codec import Codec

CPU = torch.device("cpu")
NO_PIXELS = torch.zeros(0, 1, 28, 28, dtype=torch.uint8)
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


def test_sets_of_noises_are_disjoint_and_in_order() -> None:
    parts = [torch.cat([z for z, _ in part.batches(20)]) for part in NOISES.sets(3)]
    assert torch.equal(torch.cat(parts), sample_noise(3, range(135), (1, 28, 28), Stream.EVALUATION))
    assert NOISES.sets(3)[2].batch(0, 3)[1].tolist() == [0, 1, 2]
    z, labels = NOISES.at(torch.tensor([101, 7]))
    assert torch.equal(z, torch.stack([parts[2][11], parts[0][7]]))
    assert labels.tolist() == [1, 7]


def test_noises_of_a_model_without_classes_have_no_labels() -> None:
    assert all(labels is None for _, labels in replace(NOISES, num_classes=None).batches(20))


def test_summary_is_that_of_the_whole(net: LeNet) -> None:
    whole, labels = images(50), torch.arange(50) % 10
    summary = summarise(net, zip(whole.split(8), labels.split(8), strict=True), 50, max_images=11)
    with torch.no_grad():
        features, logits = net(whole)
    torch.testing.assert_close(summary.features, features)
    np.testing.assert_allclose(summary.moments.mean, features.double().mean(0), rtol=1e-5)
    np.testing.assert_allclose(summary.moments.covariance, np.cov(features.double().numpy(), rowvar=False), rtol=1e-4)
    assert summary.class_accuracy == pytest.approx((logits.argmax(1) == labels).double().mean().item())
    assert summary.confusion.sum(1).tolist() == [5] * 10
    assert summary.confusion.sum(0).tolist() == logits.argmax(1).bincount(minlength=10).tolist()
    assert torch.equal(summary.images, whole[:11])
    pixels = whole.numpy().astype(np.float64)
    expected = [pixels.mean(), np.mean([image.std() for image in pixels])]
    np.testing.assert_allclose(summary.light, expected, rtol=1e-6)


def test_memory_does_not_grow_with_the_set(net: LeNet) -> None:
    """Images live in arrays that can be watched: those of earlier batches are gone when the next one is drawn."""
    arrays: list[weakref.ref] = []
    alive: list[int] = []

    def batches() -> Iterator[tuple[torch.Tensor, None]]:
        for _ in range(8):
            alive.append(sum(array() is not None for array in arrays))
            array = np.zeros((10, 1, 28, 28), dtype=np.float32)
            arrays.append(weakref.ref(array))
            yield torch.from_numpy(array), None
            del array

    summary = summarise(net, batches(), 80, max_kept=15, max_images=25)
    assert max(alive) <= 1
    assert (len(summary.features), len(summary.images)) == (15, 25)


def test_summary_survives_as_tensors(net: LeNet) -> None:
    summary = summarise(net, [(images(20), torch.arange(20) % 10)], 20)
    again = Summary.of(summary.tensors(), CPU)
    assert again.moments.count == 20
    assert all(torch.equal(value, again.tensors()[name]) for name, value in summary.tensors().items())


@pytest.mark.parametrize("kept", [1, 7, 49, 50, 90])
def test_kept_features_are_those_of_their_places(net: LeNet, kept: int) -> None:
    whole = images(50)
    summary = summarise(net, ((part, None) for part in whole.split(9)), 50, max_kept=kept)
    with torch.no_grad():
        torch.testing.assert_close(summary.features, net(whole)[0][summary.rows])
    assert len(summary.rows) == min(kept, 50)
    assert summary.class_accuracy is None
    assert (summary.rows.diff() > 0).all()


@pytest.mark.parametrize("total", [15_000, 20_000, 25_000, 50_000])
def test_kept_features_are_of_all_classes_alike(total: int) -> None:
    """Labels come in turn, and evenly spaced places would meet only some: of 50,000 the labels 4 and 9."""
    counts = (kept_rows(total, MAX_KEPT) % 10).bincount(minlength=10)
    assert counts.sum() == MAX_KEPT
    assert counts.min() > 1000 - 4 * 30  # four deviations of a binomial of 10,000 and 0.1
    assert counts.max() < 1000 + 4 * 30


def test_stored_pixels_are_seen_as_images(net: LeNet) -> None:
    pixels = torch.randint(0, 256, (12, 1, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    summary = summarise_pixels(net, pixels, None, 5, CPU)
    with torch.no_grad():
        torch.testing.assert_close(summary.features, net(pixels.float() / 127.5 - 1)[0])


def slow(z: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
    time.sleep(0.002 * len(z))
    return z


def test_stopwatch_counts_the_model_alone() -> None:
    timed = TimedModel(slow, CPU)
    for z, labels in NOISES.batches(15):
        assert torch.equal(timed(z, labels), z)
    assert timed.images == 45
    assert timed.seconds_per_image >= 0.002


def test_latency_is_that_of_one_image_and_of_a_batch() -> None:
    times = latency(slow, NOISES, 64)
    assert times["batch_size"] == 45
    assert times["one_seconds"] >= 0.002
    assert times["batch_seconds"] >= 0.09
    assert times["peak_memory_mib"] > 50  # a process that has loaded torch


def test_calls_that_are_too_slow_are_timed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[float] = []

    def model(z: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        calls.append(torch.get_num_threads())
        assert not torch.is_grad_enabled()
        time.sleep(0.5 if len(calls) == 1 else 0.1)  # the first is the warm-up
        return z

    monkeypatch.setattr("dmd.evaluate.latency.PATIENCE", 0.05)
    assert 0.1 <= median_seconds(model, NOISES, 1) < 0.5
    assert calls == [torch.get_num_threads()] * 2


def test_a_model_that_draws_the_reference_scores_best(net: LeNet) -> None:
    """One model returns the noises, which cut to [-1, 1] are the reference here; the other is black."""
    sets = replace(NOISES, count=25).sets(2)
    z = torch.cat([part.batch(0, 25)[0] for part in sets]).clamp(-1, 1)
    reference = summarise(net, [(z, None)], 50)
    setup = Setup(net, "lenet", NO_PIXELS, reference, sets[0], 20, 0, Codec((1, 28, 28)))
    evaluator = Evaluator(setup, PixelDistance(28), "pixel", 2)
    models = {"same": lambda z, labels: z, "black": lambda z, labels: torch.full_like(z, -1)}
    drawn = {name: evaluator.draw(model, name) for name, model in models.items()}
    same, black = (evaluator.score(drawn[name], drawn["same"]) for name in ("same", "black"))
    assert same["fd_lenet"] < black["fd_lenet"]
    assert same["nearest_train_distance"] < 1e-6 < black["nearest_train_distance"]
    assert same["coverage"] == 1 > black["coverage"]
    assert same["recall"] > black["recall"]
    assert same["fd_to_teacher"] < 1e-9 < black["fd_to_teacher"]
    assert same["pixel_to_teacher"] == black["pixel_diversity"] == 0 < same["pixel_diversity"]
    assert (same["num_samples"], same["num_sets"]) == (25, 2)
    assert same["brightness_drift"] == pytest.approx(0, abs=1e-9)
    assert black["brightness_drift"] == pytest.approx(-1 - z.double().mean().item())
    assert black["contrast_drift"] == pytest.approx(-z.double().flatten(1).std(1, correction=0).mean().item())
    distances = [frechet_distance(summary.moments, reference.moments) for summary in drawn["black"]]
    assert black["fd_lenet"] == pytest.approx(np.mean(distances))
    assert black["fd_lenet_std"] == pytest.approx(np.std(distances, ddof=1))


def test_real_images_are_split_into_disjoint_sets_of_the_same_size(net: LeNet) -> None:
    pixels = torch.randint(0, 256, (60, 1, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    reference = summarise_pixels(net, pixels, None, 50, CPU)

    def sets(count: int) -> list[Summary]:
        setup = Setup(net, "lenet", pixels, reference, replace(NOISES, count=count), 7, 0, Codec((1, 28, 28)))
        return Evaluator(setup, PixelDistance(28), "pixel", 3).split(pixels, None)

    assert [summary.moments.count for summary in sets(25)] == [25, 25]
    assert [summary.moments.count for summary in sets(100)] == [60]
    parts = sets(20)
    merged = parts[0].moments.merge(parts[1].moments).merge(parts[2].moments)
    np.testing.assert_allclose(merged.mean, reference.moments.mean, rtol=1e-6)
    np.testing.assert_allclose(merged.scatter, reference.moments.scatter, rtol=1e-5, atol=1e-8)


def test_names_of_scores(net: LeNet) -> None:
    reference = summarise(net, [(images(45), torch.arange(45) % 10)], 45)
    assert set(score(reference, reference, "x", 0)) == {
        "fd_x", "kid_x", "kid_x_standard_error", "precision", "recall", "density", "coverage", "nearest_train_distance",
        "brightness_drift", "contrast_drift", "class_accuracy", "num_samples",
    }  # fmt: skip
    assert distance_name("inception") == "fid"
    assert distance_name("lenet") == "fd_lenet"
    assert [perceptual_stem(name) for name in ("lpips-vgg", "stlpips-alex", "pixel")] == [
        "lpips",
        "stlpips_alex",
        "pixel",
    ]


def test_diversity_of_uniform_images_is_twice_their_variance() -> None:
    """E (x - y)² = 2 Var x = 2 / 3 for x, y uniform on [-1, 1]."""
    assert diversity(images(400), PixelDistance(28), 0) == pytest.approx(2 / 3, rel=0.01)
    with pytest.raises(ValueError, match="at least 2 images"):
        diversity(images(1), PixelDistance(28), 0)


def test_distance_to_other_images_is_one_to_one() -> None:
    whole = images(120)
    assert perceptual_distance(whole, 0.5 * whole, PixelDistance(28)) == pytest.approx(
        (0.25 * whole.double().square()).mean().item(), rel=1e-6
    )
