"""Micro-batches: less memory, the same result."""

import pytest
import torch

from dmd.datasets.pairs import PairStore
from dmd.diffusion.denoiser import Denoiser
from tests.distill.test_distiller import build, pairs, teacher

__all__ = ["pairs", "teacher"]  # fixtures


@pytest.mark.parametrize("size", [2, 3])
def test_they_change_no_result(teacher: Denoiser, pairs: PairStore, size: int) -> None:
    """Parts of 2 + 2 fresh noises and 2 + 1 pairs: losses, norms and gradients of both networks are the whole batch's.

    After a first step with the whole batch in both runs, so that no loss is zero; in the second, AdamW would divide
    rounding errors by themselves, hence gradients are compared, not weights.
    """
    found = []
    for micro_batch_size in (None, size):
        torch.manual_seed(0)
        distiller, calls, gradients = build(teacher, pairs, warmup_steps=0), [], []
        distiller.step(0)
        distiller.settings = distiller.settings.model_copy(update={"micro_batch_size": micro_batch_size})
        distiller.student.learner.module.register_forward_pre_hook(
            lambda _, args, calls=calls: calls.append(len(args[0]))
        )
        for learner in distiller.learners.values():
            learner.optimizer.optimizer.register_step_pre_hook(
                lambda optimizer, *_, seen=gradients: seen.append(
                    [p.grad.clone() for p in optimizer.param_groups[0]["params"]]
                )
            )
        found.append((distiller.step(1), gradients, calls))
    (whole, wanted, one_pass), (split, accumulated, passes) = found
    assert one_pass == [7, 4]
    assert passes == [4, 3, 2, 2]
    assert set(whole) == {"distribution_matching", "regression", "fake", "grad_norm_generator", "grad_norm_fake"}
    for name, value in whole.items():
        assert value > 0
        torch.testing.assert_close(split[name], value, rtol=1e-5, atol=0)
    assert len(wanted) == len(accumulated) == 3  # the generator once, the fake score twice
    for one, other in zip(wanted, accumulated, strict=True):
        assert len(one) > 20
        for a, b in zip(one, other, strict=True):
            torch.testing.assert_close(b, a, rtol=1e-4, atol=1e-5 * float(max(g.abs().max() for g in one)))
