"""The distiller: three copies, updates in turns, the right half to the right loss, guidance to the real score alone."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dmd.datasets.pairs import PairStore, write_shards
from dmd.diffusion.denoiser import Denoiser
from dmd.diffusion.generator import Generator
from dmd.diffusion.schedule import NoiseSchedule
from dmd.distill.batches import Batch
from dmd.distill.distiller import Distiller
from dmd.distill.loop import Distillation
from dmd.features.perceptual import build_perceptual
from dmd.models.codec import Codec
from dmd.pairs.recipe import PairRecipe, make_pairs
from dmd.params.distill import Distill
from dmd.params.matching import Discriminator, Matching
from dmd.params.perceptual import Perceptual
from dmd.runtime.files import load_tensors
from dmd.teacher.network import build_unet
from dmd.training.learner import settle

T = 100
SCHEDULER = {
    "num_train_timesteps": T,
    "beta_schedule": "linear",
    "beta_start": 1e-3,
    "beta_end": 0.1,
    "prediction_type": "epsilon",
    "clip_sample": False,
}
SETTINGS = Distill(
    generator_timesteps=(60,),
    steps=6,
    batch_size=4,
    pairs_batch_size=3,
    learning_rate_generator=1e-3,
    learning_rate_fake=1e-3,
    learning_rate_schedule="cosine",
    betas=(0.9, 0.999),
    weight_decay=0.01,
    warmup_steps=2,
    max_grad_norm=10.0,
    num_fake_updates=2,
    ema_decay=0.9,
    matching=Matching(loss="dmd", noise=(0.05, 8.0)),
    discriminator=Discriminator(),
    perceptual=Perceptual(name="pixel", resolution=8),
    history_epochs=3,
    health_steps=1,
    checkpoint_steps=2,
)


@pytest.fixture(scope="module")
def teacher() -> Denoiser:
    torch.manual_seed(0)
    schedule = NoiseSchedule.from_betas(torch.linspace(1e-3, 0.1, T, dtype=torch.float64))
    return Denoiser(build_unet((1, 8, 8), 5, (4, 8), 1, (), 2), schedule, "epsilon").eval()


@pytest.fixture(scope="module")
def pairs(teacher: Denoiser, tmp_path_factory: pytest.TempPathFactory) -> PairStore:
    folder = tmp_path_factory.mktemp("pairs")
    recipe = PairRecipe(0, (1, 8, 8), 4, 1.0, SCHEDULER, "ddim", 5, "leading")
    write_shards(folder, [range(12)], lambda rows: make_pairs(teacher, recipe, rows), {})
    return PairStore(folder)


def build(teacher: Denoiser, pairs: PairStore, guidance: float = 1.0, alpha: float = 0.5, **changes: Any) -> Distiller:
    return Distiller(
        teacher,
        pairs,
        build_perceptual("pixel", 8, Path()),
        Distill(**{**SETTINGS.model_dump(), **changes}),
        regression_weight=alpha,
        guidance_scale=guidance,
        num_classes=4,
        seed=0,
    )


def matching_gradient(distiller: Distiller, x: Tensor, batch: Batch) -> Tensor:
    """The matching loss's derivative at images, times their number of values."""
    return distiller.image_terms(x.detach(), batch)["distribution_matching"][1] * x.numel()


def update_critics(distiller: Distiller, x: Tensor, number: int) -> dict[str, Tensor]:
    return distiller.critics.update(x, distiller.fake_batch(number), distiller._parts, 0)


def weights(module: nn.Module) -> list[Tensor]:
    return [parameter.detach().cpu().clone() for parameter in module.parameters()]


def same(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_the_first_matching_gradient_is_exactly_zero(teacher: Denoiser, pairs: PairStore) -> None:
    distiller = build(teacher, pairs)
    batch = distiller.batch(0)
    x = distiller.student.generator(batch["z"], batch["labels"])
    assert matching_gradient(distiller, x, batch).abs().max() == 0
    for update in range(2):
        update_critics(distiller, x.detach(), update)
    assert matching_gradient(distiller, x, batch).abs().max() > 0


def test_each_update_moves_its_own_network_alone(teacher: Denoiser, pairs: PairStore) -> None:
    distiller = build(teacher, pairs, warmup_steps=0)
    networks = {"generator": distiller.student.generator, "fake": distiller.critics.mu_fake, "real": distiller.mu_real}
    start = {name: weights(module) for name, module in networks.items()}
    _, x = distiller.update_generator(distiller.batch(0), 0)
    after = {name: weights(module) for name, module in networks.items()}
    assert [same(start[name], after[name]) for name in networks] == [False, True, True]
    update_critics(distiller, x, 0)
    last = {name: weights(module) for name, module in networks.items()}
    assert [same(after[name], last[name]) for name in networks] == [True, False, True]


def test_the_regression_sees_the_pairs_half_and_the_matching_loss_the_other(
    teacher: Denoiser, pairs: PairStore
) -> None:
    distiller, seen = build(teacher, pairs), []
    distiller.perceptual.register_forward_hook(lambda _, args, __: seen.append(args))
    batch = distiller.batch(1)
    with torch.no_grad():
        expected = distiller.student.generator(batch["z_ref"], batch["labels_ref"])
    record, x = distiller.update_generator(batch, 1)
    torch.testing.assert_close(seen[0][0], expected, atol=1e-5, rtol=1e-5)
    assert torch.equal(seen[0][1], batch["x_ref"])
    torch.testing.assert_close(record["regression"], (expected - batch["x_ref"]).square().mean(), atol=1e-5, rtol=1e-5)
    assert len(x) == len(batch["z"]) == 4


def test_without_regression_the_first_update_stands_still(teacher: Denoiser, pairs: PairStore) -> None:
    """The matching gradient is zero at the start, so with alpha 0 and no weight decay nothing may move."""
    distiller = build(teacher, pairs, alpha=0.0, warmup_steps=0, weight_decay=0.0)
    start = weights(distiller.student.generator)
    distiller.update_generator(distiller.batch(0), 0)
    assert same(start, weights(distiller.student.generator))


def test_guidance_reaches_the_real_score_alone(teacher: Denoiser, pairs: PairStore) -> None:
    distiller, labels = build(teacher, pairs, guidance=2.0), {"real": [], "fake": []}
    for name, module in {"real": distiller.mu_real.denoiser, "fake": distiller.critics.mu_fake}.items():
        module.register_forward_pre_hook(lambda _, args, name=name: labels[name].extend(args[2].tolist()))
    batch = distiller.batch(0)
    matching_gradient(distiller, batch["z"], batch)
    assert labels["fake"] == batch["labels"].tolist()
    assert labels["real"] == batch["labels"].tolist() + [4] * 4


def test_timesteps_keep_to_their_ranges(teacher: Denoiser, pairs: PairStore) -> None:
    distiller, fake = build(teacher, pairs, batch_size=400), []
    t = distiller.batch(0)["t"]
    level = teacher.schedule.noise_to_signal()[t]
    assert level.min() >= 0.05
    assert level.max() <= 8.0
    inside = ((teacher.schedule.noise_to_signal() >= 0.05) & (teacher.schedule.noise_to_signal() <= 8.0)).sum()
    assert len(t.unique()) > 0.9 * inside > 50
    distiller.critics.mu_fake.register_forward_pre_hook(lambda _, args: fake.append(args[1]))
    update_critics(distiller, torch.zeros(400, 1, 8, 8), 0)
    assert fake[0].min() < 2
    assert fake[0].max() > 98


def test_every_fake_update_has_fresh_images(teacher: Denoiser, pairs: PairStore) -> None:
    distiller, seen = build(teacher, pairs, num_fake_updates=3), []
    original = distiller.critics.update
    distiller.critics.update = lambda x, *rest: (seen.append(x.clone()), original(x, *rest))[1]
    distiller.step(0)
    distiller.step(1)
    assert len(seen) == 6
    assert all(not torch.equal(one, other) for i, one in enumerate(seen) for other in seen[:i])


def test_the_fake_score_sees_the_labels_of_its_images(teacher: Denoiser, pairs: PairStore) -> None:
    """The first update those of the generator's fresh noises, the second those of its own."""
    distiller, seen = build(teacher, pairs, num_fake_updates=2), []
    batch, second = distiller.batch(3), distiller.fake_batch(7)
    distiller.critics.mu_fake.register_forward_pre_hook(
        lambda _, args: seen.append(args[2]) if torch.is_grad_enabled() else None
    )
    distiller.step(3)
    assert [labels.tolist() for labels in seen] == [batch["labels"].tolist(), second["labels"].tolist()]


def test_a_bad_loss_changes_nothing_and_its_step_is_named(teacher: Denoiser, pairs: PairStore) -> None:
    distiller = build(teacher, pairs, warmup_steps=0)
    distiller.step(0)
    before = weights(distiller.student.generator)
    distiller.perceptual.register_forward_hook(lambda _, __, output: output * float("nan"))
    for step in (1, 2):
        distiller.step(step)
    for _ in range(2):  # it stays so
        with pytest.raises(FloatingPointError, match=r"step 1: .*regression nan"):
            settle(*distiller.learners.values())
    assert same(before, weights(distiller.student.generator))


def test_a_resumed_run_ends_where_an_unbroken_one_does(teacher: Denoiser, pairs: PairStore, tmp_path: Path) -> None:
    whole = Distillation(build(teacher, pairs), Codec(pairs.image_shape), tmp_path / "whole", 6, 3, 2)
    (tmp_path / "whole").mkdir()
    whole.run()
    (tmp_path / "broken").mkdir()
    broken = build(teacher, pairs)
    original = broken.step
    broken.step = lambda step: original(step) if step < 3 else (_ for _ in ()).throw(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        Distillation(broken, Codec(pairs.image_shape), tmp_path / "broken", 6, 3, 2).run()
    resumed = Distillation(build(teacher, pairs), Codec(pairs.image_shape), tmp_path / "broken", 6, 3, 2)
    resumed.run()
    assert same(weights(whole.distiller.student.generator), weights(resumed.distiller.student.generator))
    assert same(weights(whole.distiller.critics.mu_fake), weights(resumed.distiller.critics.mu_fake))
    assert whole.rows == resumed.rows
    for name in ("whole", "broken"):
        assert sorted(path.name for path in (tmp_path / name).glob("history-*")) == [
            f"history-{step:05d}.safetensors" for step in (0, 2, 4, 6)
        ]


def test_the_history_starts_at_the_teachers_one_step_images(
    teacher: Denoiser, pairs: PairStore, tmp_path: Path
) -> None:
    run = Distillation(build(teacher, pairs), Codec(pairs.image_shape), tmp_path, 6, 2, 6)
    run.run()
    (tmp_path / "out").mkdir()
    run.save(tmp_path / "out")
    history = load_tensors(tmp_path / "out" / "history.safetensors")
    first = pairs.read(range(12))
    with torch.no_grad():
        expected = Generator(teacher, 60)(first["z"], first["label"])
    torch.testing.assert_close(history["images_step_00000"], expected)
    assert torch.equal(history["x0_pair"], first["x0"])
    assert (history["images_step_00006"] - history["images_step_00000"]).abs().max() > 0


def test_batch_sizes_must_divide_over_processes(teacher: Denoiser, pairs: PairStore, monkeypatch: Any) -> None:
    monkeypatch.setattr("accelerate.Accelerator.num_processes", 3)
    with pytest.raises(ValueError, match=r"distill\.batch_size 4 is not a multiple of 3"):
        build(teacher, pairs)
