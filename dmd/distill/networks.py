"""The three networks at their start, each the teacher: generator, fake score, real score."""

import copy
from collections.abc import Sequence

import torch

from dmd.diffusion.denoiser import Denoiser
from dmd.models.backbones import checkpoint_activations
from dmd.models.lora import adapt
from dmd.params.distill import Distill
from dmd.training.compile import compile_network


def build_networks(teacher: Denoiser, settings: Distill, seed: int, device: torch.device) -> Sequence[Denoiser]:
    """Three copies, or with `settings.lora` one that is moved to `device`, and two adapters that the seed draws.

    Raises:
        ValueError: the network does not support checkpointing, or cannot be compiled here.
    """
    if settings.lora is None:
        return [_copy(teacher, settings, device) for _ in range(3)]
    adapted = adapt(teacher.backbone, settings.lora.rank, seed)
    adapted[0].base.to(device)
    return [teacher.around(network).eval() for network in adapted]


def _copy(teacher: Denoiser, settings: Distill, device: torch.device) -> Denoiser:
    copied = copy.deepcopy(teacher).eval()
    if settings.gradient_checkpointing:
        checkpoint_activations(copied.backbone)
    if settings.compile:
        compile_network(copied.backbone, device, "distill.compile")
    return copied
