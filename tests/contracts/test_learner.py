"""The optimiser's fused kernel, the clipping and the schedule give what torch gives step by step."""

import copy

import torch
from accelerate import Accelerator
from torch import nn

from dmd.learner import Learner


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
