"""Health of every method: whether the critics keep up, and the matching gradient by noise level."""

import math
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor

from dmd.datasets.pairs import PairStore
from dmd.diffusion.denoiser import Denoiser, denoising_loss
from dmd.diffusion.rng import Stream, sample_noise
from dmd.distill.distiller import Distiller
from dmd.distill.health import Health
from tests.distill.methods import BOTTLENECK, CONVOLUTIONAL, NOISE, TWO, build_method
from tests.distill.test_distiller import T, pairs, teacher

__all__ = ["pairs", "teacher"]  # fixtures


def rows_of(run: Distiller, steps: int = 3) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The health table and the losses of the first steps."""
    losses = [{"step": step} | {name: float(value) for name, value in run.step(step).items()} for step in range(steps)]
    return run.health.collect(losses, Accelerator()), losses


def losses_of(step: int, record: dict[str, Tensor]) -> dict[str, Any]:
    """The losses of an update of the generator alone."""
    critics = {"fake": 1.0, "grad_norm_fake": 1.0, "discriminator_accuracy": 0.5}
    return {"step": step, **critics, **{name: float(value) for name, value in record.items()}}


def test_the_lag_is_the_fake_scores_loss_over_a_teachers_on_its_own_images(teacher: Denoiser, pairs: PairStore) -> None:
    """The teacher's: on all twelve pairs, the i-th at the middle of the i-th twelfth of the timesteps."""
    run = build_method(teacher, pairs, health_steps=2)
    x0, labels = (pairs.read(range(12))[name] for name in ("x0", "label"))
    t = torch.tensor([math.floor((i + 0.5) / 12 * T) for i in range(12)])
    eps = sample_noise(0, range(12), (1, 8, 8), Stream.HEALTH_NOISE)
    with torch.no_grad():
        x0_hat = teacher(teacher.schedule.add_noise(x0, eps, t), t, labels)
        baseline = denoising_loss(x0_hat, x0, teacher.schedule.snr(t)).item()
    rows, losses = rows_of(run)
    assert [row["step"] for row in rows] == [0, 2]
    assert rows[0]["fake_lag"] == pytest.approx(losses[0]["fake"] / baseline, rel=1e-4)
    assert rows[1]["fake_lag"] == pytest.approx((losses[1]["fake"] + losses[2]["fake"]) / 2 / baseline, rel=1e-4)
    assert "discriminator_accuracy" not in rows[0]


@pytest.mark.parametrize("loss", ["dmd", "sid"])
@pytest.mark.parametrize("size", [None, 2])
def test_the_matching_gradient_by_noise_level_is_that_of_each_image(
    teacher: Denoiser, pairs: PairStore, loss: str, size: int | None
) -> None:
    """Thirds of log(sigma / alpha) from the range's ends; the norm of each image's own gradient, times the batch."""
    changes = {"batch_size": 12, "pairs_batch_size": 6, "micro_batch_size": size, "health_steps": 1}
    run = build_method(teacher, pairs, matching={"loss": loss}, **changes)
    rows_of(run, 1)
    batch = run.batch(1)
    x = run.student.generator(batch["z"], batch["labels"]).detach()
    norms = 12 * run.image_terms(x, batch)["distribution_matching"][1].flatten(1).norm(dim=1)
    record, _ = run.update_generator(batch, 1)
    rows = run.health.collect([losses_of(1, record)], Accelerator())
    low, high = (math.log(level) for level in NOISE)
    wanted: dict[str, list[float]] = {"low": [], "middle": [], "high": []}
    for level, norm in zip(teacher.schedule.noise_to_signal()[batch["t"]].tolist(), norms.tolist(), strict=True):
        wanted[list(wanted)[min(int((math.log(level) - low) / (high - low) * 3), 2)]].append(norm)
    assert sum(len(values) > 0 for values in wanted.values()) >= 2
    for name, values in wanted.items():
        mean = pytest.approx(sum(values) / len(values), rel=1e-3) if values else None
        assert rows[0].get(f"matching_{name}_noise") == mean


def test_a_level_that_no_image_had_is_missing() -> None:
    health = Health(1, 1.0, torch.randn(8, 1, 2, 2))
    images = torch.randn(3, 1, 2, 2, requires_grad=True)
    health.watch(0, images, 3)
    health.note_gradients(0, {"distribution_matching": torch.ones(3, 1, 2, 2)}, torch.tensor([1.0, 3.0, 5.0]), LEVELS)
    images.sum().backward()
    (row,) = health.collect([{"step": 0, "grad_norm_generator": 0.0, "grad_norm_fake": 0.0}], Accelerator())
    assert [row.get(f"matching_{name}_noise") for name in ("low", "middle", "high")] == [2.0, None, 5.0]


LEVELS = torch.tensor([0, 0, 2])


@pytest.mark.parametrize("discriminator", [CONVOLUTIONAL, BOTTLENECK], ids=lambda kind: kind["kind"])
def test_accuracy_is_the_share_that_the_discriminator_tells_right(
    teacher: Denoiser, pairs: PairStore, discriminator: dict[str, Any]
) -> None:
    run = build_method(teacher, pairs, discriminator=discriminator, health_steps=2, num_fake_updates=1)
    run.step(0)
    drawn, (_, x) = run.fake_batch(1), run.update_generator(run.batch(1), 1)
    t = drawn["t"] if discriminator is BOTTLENECK else drawn["t_real"]
    with torch.no_grad():
        fake = run.critics.discriminator.logits(teacher.schedule.add_noise(x, drawn["eps"], t), t, drawn["labels"])
        real_t = teacher.schedule.add_noise(drawn["x_real"], drawn["eps_real"], t)
        real = run.critics.discriminator.logits(real_t, t, drawn["labels_real"])
    record = run.critics.update(x, drawn, run._parts, 1)
    right = ((real > 0).sum() + (fake < 0).sum()).item() / 8
    assert record["discriminator_accuracy"].item() == pytest.approx(right)
    rows, losses = rows_of(build_method(teacher, pairs, discriminator=discriminator, health_steps=2))
    mean = (losses[1]["discriminator_accuracy"] + losses[2]["discriminator_accuracy"]) / 2
    assert rows[1]["discriminator_accuracy"] == pytest.approx(mean)


def test_images_are_told_apart_under_the_matching_noise(teacher: Denoiser, pairs: PairStore) -> None:
    run, seen = build_method(teacher, pairs, discriminator=CONVOLUTIONAL, batch_size=100), []
    run.critics.discriminator.register_forward_pre_hook(lambda _, args: seen.append(args))
    run.critics.update(torch.zeros(100, 1, 8, 8), run.fake_batch(0), run._parts, 0)
    x_t, t, labels = seen[0]
    levels = teacher.schedule.noise_to_signal()[t]
    assert NOISE[0] <= levels.min() < levels.max() <= NOISE[1]
    assert torch.equal(t[:100], t[100:])
    assert len(x_t) == len(labels) == 200


def test_the_adversarial_gradient_is_weighted(teacher: Denoiser, pairs: PairStore) -> None:
    """Twice the weight, twice the norm at the same images; the first step's matching gradient is zero."""
    found = []
    for weight in (0.1, 0.2):
        run = build_method(teacher, pairs, discriminator={**CONVOLUTIONAL, "weight": weight}, health_steps=1)
        run.critics.update(torch.zeros(4, 1, 8, 8), run.fake_batch(0), run._parts, 0)
        record, _ = run.update_generator(run.batch(0), 0)
        rows = run.health.collect([losses_of(0, record)], Accelerator())
        found.append(rows[0]["grad_norm_adversarial"])
    assert found[0] > 0
    assert found[1] == pytest.approx(2 * found[0], rel=1e-5)


@pytest.mark.parametrize(
    "changes", [{"generator_timesteps": TWO}, {"alpha": 0.0}, {"matching": {"loss": "none"}}], ids=str
)
def test_every_method_has_the_measures_that_are_always_there(
    teacher: Denoiser, pairs: PairStore, changes: dict[str, Any]
) -> None:
    run = build_method(teacher, pairs, health_steps=1, **changes)
    row = rows_of(run, 2)[0][1]
    assert all(math.isfinite(value) for value in row.values())
    assert (row["grad_norm_regression"] == 0) == ("alpha" in changes)
    assert (row["grad_norm_distribution_matching"] == 0) == ("fake_lag" not in row) == ("matching" in changes)
    assert row["variety"] > 0
