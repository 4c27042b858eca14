"""The distiller by method: what each trains, reads and calls, when, and that a resumed run is the unbroken one."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dmd.datasets.pairs import PairStore
from dmd.diffusion.denoiser import Denoiser
from dmd.distill.distiller import Distiller
from dmd.distill.loop import Distillation
from dmd.distill.losses import adversarial_loss, score_identity_loss
from dmd.models.codec import Codec
from dmd.runtime.files import load_tensors
from tests.distill.methods import BOTTLENECK, CONVOLUTIONAL, TWO, build_method
from tests.distill.test_distiller import pairs, same, teacher, weights

__all__ = ["pairs", "teacher"]  # fixtures

COLUMNS = ["distribution_matching", "regression", "grad_norm_generator", "fake", "grad_norm_fake"]
DISCRIMINATOR = ["adversarial", "discriminator", "discriminator_accuracy"]
SETS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "dmd": ({}, []),
    "sid": ({"matching": {"loss": "sid"}}, []),
    "regression": ({"matching": {"loss": "none"}}, []),
    "dmd2": ({"discriminator": CONVOLUTIONAL, "alpha": 0.0}, [*DISCRIMINATOR, "grad_norm_discriminator"]),
    "sida": ({"matching": {"loss": "sid"}, "discriminator": BOTTLENECK, "alpha": 0.0}, DISCRIMINATOR),
    "gan": (
        {"matching": {"loss": "none"}, "discriminator": CONVOLUTIONAL, "alpha": 0.0},
        [*DISCRIMINATOR, "grad_norm_discriminator"],
    ),
    "f-distill": (
        {"matching": {"divergence": "jensen_shannon"}, "discriminator": {**CONVOLUTIONAL, "weight": 0.0}},
        ["discriminator", "discriminator_accuracy", "grad_norm_discriminator"],
    ),
    "two steps": ({"generator_timesteps": TWO}, []),
    "two steps, dmd2": (
        {"generator_timesteps": TWO, "discriminator": CONVOLUTIONAL},
        [*DISCRIMINATOR, "grad_norm_discriminator"],
    ),
}


class Refusing(nn.Module):
    """A distance that must not be asked."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        raise AssertionError("the perceptual network was called")


@pytest.mark.parametrize("name", SETS)
def test_the_table_of_losses_has_the_same_columns_and_what_is_on(
    teacher: Denoiser, pairs: PairStore, name: str
) -> None:
    changes, more = SETS[name]
    run = build_method(teacher, pairs, **changes)
    records = [run.step(step) for step in range(2)]
    for record in records:
        assert sorted(record) == sorted([*COLUMNS, *more])
    last = {key: value.item() for key, value in records[1].items()}
    loss, alpha = changes.get("matching", {}).get("loss", "dmd"), changes.get("alpha", 0.5)
    assert (last["regression"] == 0) == (alpha == 0)
    for column in ("distribution_matching", "fake", "grad_norm_fake"):
        assert (last[column] == 0) == (loss == "none")
    assert all(last[key] > 0 for key in more if key != "discriminator_accuracy")


def test_without_alpha_no_pairs_are_read_and_no_perceptual_network_is_called(
    teacher: Denoiser, pairs: PairStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, sizes = build_method(teacher, pairs, alpha=0.0, perceptual=Refusing()), []
    monkeypatch.setattr(PairStore, "read", lambda *_: pytest.fail("pairs were read"))
    run.student.learner.module.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
    for step in range(2):
        run.step(step)
    assert sizes == [4] * 4  # the update and the second fake update's images, twice
    assert not {"z_ref", "x_ref", "labels_ref"} & run.batch(2).keys()
    monkeypatch.undo()
    other = build_method(teacher, pairs, alpha=0.5, perceptual=Refusing())
    with pytest.raises(AssertionError, match="perceptual network was called"):
        other.step(0)


def test_the_critics_warm_up_on_fresh_numbers_before_the_generator_moves(teacher: Denoiser, pairs: PairStore) -> None:
    run, order, images = build_method(teacher, pairs, fake_warmup_updates=3, discriminator=CONVOLUTIONAL), [], []
    start = weights(run.student.generator)
    original, update = run.critics.update, run.update_generator

    def watched(x: Tensor, drawn: Any, *rest: Any) -> Any:
        order.append("critics")
        images.append((x.clone(), drawn["t"], drawn["eps"]))
        assert len(order) > 3 or same(start, weights(run.student.generator))
        return original(x, drawn, *rest)

    run.critics.update = watched
    run.update_generator = lambda *rest: (order.append("generator"), update(*rest))[1]
    first = run.step(0)
    run.step(1)
    assert order == ["critics"] * 3 + ["generator", "critics", "critics"] * 2
    assert first["distribution_matching"] > 0  # the fake score has moved before
    assert run.student.learner.lr_scheduler.last_epoch == 2
    assert run.critics.learns_fake.lr_scheduler.last_epoch == 7
    for i, one in enumerate(images):
        for other in images[:i]:
            assert not any(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_the_rates_of_the_critics_fall_to_zero_with_the_warm_up_counted(teacher: Denoiser, pairs: PairStore) -> None:
    run = build_method(teacher, pairs, fake_warmup_updates=3, discriminator=CONVOLUTIONAL, steps=4, history_epochs=1)
    for step in range(4):
        assert all(learner.lr_scheduler.get_last_lr()[0] > 0 for learner in run.learners.values())
        run.step(step)
    assert [learner.lr_scheduler.get_last_lr()[0] for learner in run.learners.values()] == [0.0] * 3


def test_no_matching_loss_never_trains_the_fake_score(teacher: Denoiser, pairs: PairStore) -> None:
    for discriminator in ({}, CONVOLUTIONAL):
        run, calls = build_method(teacher, pairs, matching={"loss": "none"}, discriminator=discriminator), []
        before = weights(run.critics.mu_fake)
        assert set(run.learners) == {"generator", *(["discriminator"] if discriminator else [])}, "no optimiser for it"
        assert len(run.state.optimizers) == len(run.learners)
        for module in (run.critics.mu_fake, run.mu_real):
            module.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        start = weights(run.student.generator)
        run.step(0)
        assert calls == []
        assert same(before, weights(run.critics.mu_fake))
        assert not same(start, weights(run.student.generator))


def test_guidance_of_the_real_score_is_apart_from_the_pairs(teacher: Denoiser, pairs: PairStore) -> None:
    def labels_seen(guidance: float, own: float | None) -> int:
        run, seen = build_method(teacher, pairs, guidance=guidance, matching={"guidance_scale": own}), []
        network = getattr(run.mu_real, "denoiser", run.mu_real)
        network.register_forward_pre_hook(lambda _, args: seen.extend(args[2].tolist()))
        run.step(0)
        return seen.count(4)  # the null class

    assert [labels_seen(2.0, None), labels_seen(2.0, 1.0), labels_seen(1.0, 2.0), labels_seen(1.0, None)] == [
        4,
        0,
        4,
        0,
    ]
    assert build_method(teacher, pairs, guidance=2.0, matching={"guidance_scale": 1.25}).mu_real.guidance_scale == 1.25


def test_the_fake_scores_noise_keeps_its_range(teacher: Denoiser, pairs: PairStore) -> None:
    run, seen = build_method(teacher, pairs, fake_noise=(0.3, 2.0), matching={"noise": (0.5, 1.0)}, batch_size=200), []
    run.critics.mu_fake.register_forward_pre_hook(lambda _, args: seen.append(args[1]))
    run.critics.update(torch.zeros(200, 1, 8, 8), run.fake_batch(0), run._parts, 0)
    levels = teacher.schedule.noise_to_signal()
    assert levels[seen[0]].min() >= 0.3
    assert levels[seen[0]].max() <= 2.0
    assert len(seen[0].unique()) > 0.9 * ((levels >= 0.3) & (levels <= 2.0)).sum() > 10
    with pytest.raises(
        ValueError, match=r"distill.matching.noise \[100000000.0, 1000000000.0\]: no timestep has a noise"
    ):
        build_method(teacher, pairs, matching={"noise": (1e8, 1e9)})


def test_score_identity_and_adversarial_terms_are_those_of_the_networks(teacher: Denoiser, pairs: PairStore) -> None:
    run = build_method(teacher, pairs, matching={"loss": "sid", "sid_a": 1.2}, discriminator=CONVOLUTIONAL)
    run.step(0)
    batch = run.batch(1)
    x = run.student.generator(batch["z"], batch["labels"]).detach().requires_grad_()
    found = run.image_terms(x.detach(), batch)
    t, labels = batch["t"], batch["labels"]
    x_t = teacher.schedule.add_noise(x, batch["eps"], t)
    sid = score_identity_loss(x, run.mu_real(x_t, t, labels), run.critics.mu_fake(x_t, t, labels), 1.2)
    against = adversarial_loss(run.critics.discriminator(x_t, t, labels))
    for name, loss in {"distribution_matching": sid, "adversarial": against}.items():
        (gradient,) = torch.autograd.grad(loss, x, retain_graph=True)
        assert found[name][0].item() == pytest.approx(loss.item(), rel=1e-4)
        torch.testing.assert_close(found[name][1], gradient, rtol=1e-3, atol=1e-4 * float(gradient.abs().max()))


@pytest.mark.parametrize("name", ["dmd2", "sida", "two steps", "two steps, dmd2"])
def test_a_resumed_run_ends_to_the_bit_where_an_unbroken_one_does(
    teacher: Denoiser, pairs: PairStore, tmp_path: Path, name: str
) -> None:
    def fresh() -> Distiller:
        return build_method(teacher, pairs, **SETS[name][0], fake_warmup_updates=2, snapshot_samples=20)

    for folder in ("whole", "broken"):
        (tmp_path / folder).mkdir()
    whole = Distillation(fresh(), Codec(pairs.image_shape), tmp_path / "whole", 6, 3, 2)
    whole.run()
    broken = fresh()
    original = broken.step
    broken.step = lambda step: original(step) if step < 3 else (_ for _ in ()).throw(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        Distillation(broken, Codec(pairs.image_shape), tmp_path / "broken", 6, 3, 2).run()
    resumed = Distillation(fresh(), Codec(pairs.image_shape), tmp_path / "broken", 6, 3, 2)
    resumed.run()
    for kept, again in zip(whole.distiller.learners.items(), resumed.distiller.learners.items(), strict=True):
        assert kept[0] == again[0]
        assert same(weights(kept[1].module), weights(again[1].module))
    assert whole.rows == resumed.rows
    assert whole.health == resumed.health
    for step in (0, 2, 4, 6):
        one, other = (load_tensors(tmp_path / part / f"history-{step:05d}.safetensors") for part in ("whole", "broken"))
        assert one.keys() == other.keys() == {"images", "panel", "snapshot"}
        assert all(torch.equal(one[key], other[key]) for key in one)
