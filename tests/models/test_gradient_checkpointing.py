"""Gradient checkpointing: less memory, the same result; a network that has none is refused."""

from collections.abc import Callable
from unittest.mock import patch

import pytest
import torch
from torch import Tensor

from dmd.datasets.pairs import PairStore
from dmd.diffusion.denoiser import Denoiser
from dmd.distill.distiller import Distiller
from dmd.teacher.network import build_backbone
from tests.distill.test_distiller import build, pairs, teacher
from tests.models.test_backbones import SCHEDULE, SYSTEMS

__all__ = ["pairs", "teacher"]  # fixtures


def gradients(distiller: Distiller) -> list[list[Tensor]]:
    """A list that the next steps fill with each update's gradients."""
    found: list[list[Tensor]] = []
    for learner in distiller.learners.values():
        learner.optimizer.optimizer.register_step_pre_hook(
            lambda optimizer, *_: found.append([p.grad.clone() for p in optimizer.param_groups[0]["params"]])
        )
    return found


def kept_bytes(run: Callable[[], object]) -> int:
    """Bytes that `run` keeps for its backward passes."""
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        run()
    return sum(kept.values())


def test_it_changes_no_result(teacher: Denoiser, pairs: PairStore) -> None:
    """Losses, norms and gradients of both networks, after a first step in which the matching gradient is zero."""
    found = []
    for checkpointed in (False, True):
        torch.manual_seed(0)
        distiller = build(teacher, pairs, warmup_steps=0, gradient_checkpointing=checkpointed)
        assert distiller.step(0)["distribution_matching"] == 0
        seen = gradients(distiller)
        with patch("torch.utils.checkpoint.checkpoint", wraps=torch.utils.checkpoint.checkpoint) as blocks:
            found.append((distiller.step(1), seen, blocks.call_count))
    (plain, wanted, no_blocks), (checkpointed, again, blocks) = found
    assert no_blocks == 0
    assert blocks > 0
    for name, value in plain.items():
        assert value > 0
        torch.testing.assert_close(checkpointed[name], value, rtol=1e-5, atol=0)
    assert len(wanted) == len(again) == 3  # the generator once, the fake score twice
    for one, other in zip(wanted, again, strict=True):
        for a, b in zip(one, other, strict=True):
            torch.testing.assert_close(b, a, rtol=1e-4, atol=1e-6 * float(max(g.abs().max() for g in one)))


def test_it_keeps_less(teacher: Denoiser, pairs: PairStore) -> None:
    sizes = []
    for checkpointed in (False, True):
        distiller = build(teacher, pairs, gradient_checkpointing=checkpointed)
        part = distiller.batch(0)
        sizes.append(kept_bytes(lambda distiller=distiller, part=part: distiller.student.images(part, 0)))
    assert sizes[1] < 0.8 * sizes[0]


@pytest.mark.parametrize("name", ["mnist", "celeba"])
def test_a_network_without_it_is_refused(teacher: Denoiser, pairs: PairStore, name: str) -> None:
    system = SYSTEMS[name]
    schedule = {**SCHEDULE, "num_train_timesteps": system.get("steps", 1000)}
    embeds = None if system["classes"] is None else system["classes"] + 1
    backbone = build_backbone(system["settings"], schedule, system["shape"], embeds)
    denoiser = Denoiser(backbone, teacher.schedule, "epsilon")
    message = (
        rf"distill.gradient_checkpointing true: .* network, {type(backbone).__name__}, does not support it; set it"
    )
    with pytest.raises(ValueError, match=message):
        build(denoiser, pairs, gradient_checkpointing=True)
