"""The optimiser's fused kernel, the clipping and the schedule give what torch gives step by step."""

import copy

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from dmd.training.learner import Learner, settle


def test_no_update_happens_from_the_first_number_that_is_not_finite_on() -> None:
    torch.manual_seed(0)
    module = nn.Linear(3, 1)
    learner = Learner(Accelerator(), module, 1e-2, (0.9, 0.99), 0.1, 0.5)

    def update(step: int, value: float) -> list[torch.Tensor]:
        loss = (module(torch.ones(2, 3)) * value).square().mean()
        learner.descend(loss, step, {"loss": loss})
        state = [tensor for entry in learner.optimizer.state_dict()["state"].values() for tensor in entry.values()]
        return [tensor.detach().clone() for tensor in (*module.parameters(), *state)]

    first, good = update(0, 1.0), update(1, 1.0)
    assert not any(torch.equal(one, other) for one, other in zip(first, good, strict=True))
    for step, value in ((2, float("inf")), (3, 1.0)):
        assert all(torch.equal(one, other) for one, other in zip(good, update(step, value), strict=True))
    with pytest.raises(FloatingPointError, match=r"^not finite at step 2: loss inf, gradient norm inf; "):
        settle(learner)


def test_the_first_bad_step_of_all_learners_is_named() -> None:
    learners = [Learner(Accelerator(), nn.Linear(1, 1), 1e-2, (0.9, 0.99), 0.1, 0.5) for _ in range(2)]

    def update(number: int, step: int, value: float) -> None:
        loss = learners[number].module(torch.full((1, 1), value)).sum()
        learners[number].descend(loss, step, {f"loss{number}": loss})

    settle(*learners)
    for step, values in enumerate([(1.0, 1.0), (1.0, float("nan")), (float("nan"), 1.0)]):
        for number, value in enumerate(values):
            update(number, step, value)
    with pytest.raises(FloatingPointError, match="not finite at step 1: loss1 nan"):
        settle(*learners)
    update(1, 4, 1.0)
    with pytest.raises(FloatingPointError, match="not finite at step 2: loss0 nan"):
        settle(learners[0])


def test_updates_are_those_of_the_plain_adamw() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(1, 8, 3), nn.GroupNorm(4, 8), nn.SiLU(), nn.Conv2d(8, 1, 3))
    plain = copy.deepcopy(module)
    start = [parameter.clone() for parameter in module.parameters()]
    learner = Learner(Accelerator(), module, 1e-2, (0.9, 0.99), 0.1, 0.5).schedule("cosine", 2, 10)
    optimizer = torch.optim.AdamW(plain.parameters(), 1e-2, (0.9, 0.99), weight_decay=0.1, fused=False, foreach=False)
    rates = []
    for step in range(8):
        x = torch.randn(4, 1, 8, 8)
        loss = learner.module(x).square().mean()
        rates.append(learner.lr_scheduler.get_last_lr()[0])
        norm = learner.descend(loss, step, {"loss": loss})

        optimizer.param_groups[0]["lr"] = rates[-1]
        optimizer.zero_grad()
        plain(x).square().mean().backward()
        gradients = [parameter.grad for parameter in plain.parameters() if parameter.grad is not None]
        expected = torch.sqrt(sum(gradient.square().sum() for gradient in gradients))
        torch.testing.assert_close(norm, expected)
        for gradient in gradients:
            gradient.mul_((0.5 / (expected + 1e-6)).clamp(max=1))
        optimizer.step()
        for one, other in zip(module.parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    assert rates[:3] == [0.0, 0.005, 0.01]
    weights = zip(start[::2], list(module.parameters())[::2], strict=True)
    assert all(float((one - other).detach().abs().max()) > 1e-3 for one, other in weights)
