"""Backward simulation: each step of the generator is trained, on what the steps before it make of fresh noises."""

from typing import Any

import pytest
import torch
from torch import Tensor

from dmd.datasets.pairs import PairStore
from dmd.diffusion.denoiser import Denoiser
from dmd.distill.batches import rollout_noise
from dmd.distill.distiller import Distiller
from tests.distill.methods import BOTTLENECK, CONVOLUTIONAL, TWO, build_method
from tests.distill.test_distiller import pairs, same, teacher, weights

__all__ = ["pairs", "teacher"]  # fixtures

FOUR = (80, 60, 40, 20)


def seen_by(run: Distiller) -> list[Tensor]:
    """A list that each later pass of the generator with a gradient adds its timesteps to."""
    seen: list[Tensor] = []
    run.student.learner.module.register_forward_pre_hook(
        lambda _, args: seen.append(args[1]) if torch.is_grad_enabled() else None
    )
    return seen


def test_each_step_is_drawn_and_the_pairs_are_at_the_first_alone(teacher: Denoiser, pairs: PairStore) -> None:
    run = build_method(teacher, pairs, generator_timesteps=FOUR, num_fake_updates=1)
    seen, drawn = seen_by(run), []
    for step in range(16):
        run.update_generator(run.batch(step), step)
        (t,) = seen
        seen.clear()
        assert t[4:].tolist() == [80] * 3
        assert len(t[:4].unique()) == 1
        drawn.append(int(t[0]))
    assert set(drawn) == set(FOUR)
    counts = [run.batches.generator_step(number) for number in range(2000)]
    for k in range(4):
        assert counts.count(k) == pytest.approx(500, abs=80)  # four standard deviations


def test_the_last_step_alone_is_trained_where_it_is_asked_for(teacher: Denoiser, pairs: PairStore) -> None:
    """So the matched images, of generator and fake score, are those that the generator draws."""
    run = build_method(teacher, pairs, generator_timesteps=FOUR, matched_steps="last", num_fake_updates=2)
    seen = seen_by(run)
    for step in range(8):
        batch = run.batch(step)
        drawn = run.student.generator(batch["z"], batch["labels"], rollout_noise(batch))
        _, images = run.update_generator(batch, step)
        torch.testing.assert_close(images, drawn, rtol=1e-4, atol=1e-5)
        fake = run.batches.draw_fake(run.batches.number(step) + 1)
        wanted = run.student.generator(fake["z"], fake["labels"], rollout_noise(fake))
        torch.testing.assert_close(run.student.draw([fake], run.batches.number(step) + 1), wanted, rtol=1e-4, atol=1e-5)
    assert [sorted(t.unique().tolist()) for t in seen if len(t) == 7] == [[20, 80]] * 8  # the pairs are at the first


def test_one_timestep_draws_no_noise_and_no_step(teacher: Denoiser, pairs: PairStore) -> None:
    one, two = (build_method(teacher, pairs, generator_timesteps=times) for times in ((60,), TWO))
    assert "eps_rollout" not in one.batch(0)
    assert {one.batches.generator_step(number) for number in range(50)} == {0}
    assert two.batch(0)["eps_rollout"].shape == (4, 1, 1, 8, 8)
    for name, value in one.batch(0).items():
        assert torch.equal(two.batch(0)[name], value)


def test_an_update_descends_at_the_images_of_its_step(teacher: Denoiser, pairs: PairStore) -> None:
    """Losses are those at D(alpha x_{k-1} + sigma eps, t_k) of the images by hand, and of no other step."""
    run = build_method(teacher, pairs, generator_timesteps=FOUR, num_fake_updates=1, alpha=0.0)
    run.step(0)
    for step in range(1, 9):
        batch, k = run.batch(step), run.batches.generator_step(run.batches.number(step))
        with torch.no_grad():
            t = torch.full((4,), FOUR[0])
            x = run.student.generator.denoiser(batch["z"], t, batch["labels"])
            for i in range(k):
                t = torch.full((4,), FOUR[i + 1])
                x_t = teacher.schedule.add_noise(x, rollout_noise(batch)[i], t)
                x = run.student.generator.denoiser(x_t, t, batch["labels"])
        wanted = run.image_terms(x, batch)["distribution_matching"][0]
        record, found = run.update_generator(batch, step)
        torch.testing.assert_close(found, x, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(record["distribution_matching"], wanted, rtol=1e-3, atol=0)


def test_the_fake_score_learns_from_the_same_rollout(teacher: Denoiser, pairs: PairStore) -> None:
    """The first update has the generator's own images; the second draws anew, at a step drawn anew."""
    run, seen = build_method(teacher, pairs, generator_timesteps=TWO, num_fake_updates=2), []
    original = run.critics.update
    run.critics.update = lambda x, *rest: (seen.append(x), original(x, *rest))[1]
    update, images = run.update_generator, []

    def kept(*rest: Any) -> Any:
        record, x = update(*rest)
        images.append(x)
        return record, x

    run.update_generator = kept
    for step in range(4):
        run.step(step)
        number = run.batches.number(step) + 1
        batch = run.batches.draw_fake(number)
        assert torch.equal(seen[0], images[-1])
        with torch.no_grad():
            args = run.student.generator.rollout(
                batch["z"], batch["labels"], rollout_noise(batch), run.batches.generator_step(number)
            )
            assert torch.equal(seen[1], run.student.generator.denoiser(*args, batch["labels"]))
        seen.clear()


@pytest.mark.parametrize("discriminator", [CONVOLUTIONAL, BOTTLENECK], ids=lambda kind: kind["kind"])
@pytest.mark.parametrize("loss", ["dmd", "sid"])
def test_micro_batches_change_no_result_of_any_learner(
    teacher: Denoiser, pairs: PairStore, loss: str, discriminator: dict[str, Any]
) -> None:
    """Gradients of all learners, with several steps, a discriminator and either loss."""
    found = []
    for size in (None, 2, 3):
        run = build_method(
            teacher, pairs, matching={"loss": loss}, discriminator=discriminator, generator_timesteps=TWO
        )
        run.step(0)
        run.settings = run.settings.model_copy(update={"micro_batch_size": size})
        gradients: list[list[Tensor]] = []
        for learner in run.learners.values():
            learner.optimizer.optimizer.register_step_pre_hook(
                lambda optimizer, *_, seen=gradients: seen.append(
                    [parameter.grad.clone() for parameter in optimizer.param_groups[0]["params"]]
                )
            )
        found.append((run.step(1), gradients))
    whole, wanted = found[0]
    assert len(wanted) == (5 if discriminator is CONVOLUTIONAL else 3)
    for split, accumulated in found[1:]:
        for name, value in whole.items():
            torch.testing.assert_close(split[name], value, rtol=1e-4, atol=1e-6)
        for one, other in zip(wanted, accumulated, strict=True):
            largest = float(max(gradient.abs().max() for gradient in one))
            assert largest > 0
            for a, b in zip(one, other, strict=True):
                torch.testing.assert_close(b, a, rtol=1e-3, atol=1e-4 * largest)


@pytest.mark.parametrize("loss", ["dmd", "sid"])
def test_checkpointed_activations_change_no_result(teacher: Denoiser, pairs: PairStore, loss: str) -> None:
    """Score identity differentiates through both scores, whose insides are then computed again."""
    records = []
    for checkpointed in (False, True):
        run = build_method(
            teacher, pairs, matching={"loss": loss}, discriminator=BOTTLENECK, gradient_checkpointing=checkpointed
        )
        run.step(0)
        records.append(run.step(1))
    for name, value in records[0].items():
        torch.testing.assert_close(records[1][name], value, rtol=1e-4, atol=1e-7)


def test_no_update_of_the_generator_moves_its_critics(teacher: Denoiser, pairs: PairStore) -> None:
    run = build_method(teacher, pairs, generator_timesteps=TWO, discriminator=CONVOLUTIONAL)
    run.step(0)
    modules = [run.critics.mu_fake, run.critics.discriminator, run.mu_real]
    before, student = [weights(module) for module in modules], weights(run.student.generator)
    run.update_generator(run.batch(1), 1)
    assert all(same(old, weights(module)) for old, module in zip(before, modules, strict=True))
    assert not same(student, weights(run.student.generator))
    student = weights(run.student.generator)
    run.critics.update(torch.zeros(4, 1, 8, 8), run.fake_batch(0), run._parts, 0)
    assert [same(old, weights(module)) for old, module in zip(before, modules, strict=True)] == [False, False, True]
    assert same(student, weights(run.student.generator))
