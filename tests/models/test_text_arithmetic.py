"""What docs/text.md counts for Stable Diffusion 1.5, counted again on a network without memory."""

import re
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from dmd.models.lora import TARGETS

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "text.md").read_text(encoding="utf-8")
WIDTH, TOKENS, SIDE, RANK = 768, 77, 64, 64


@pytest.fixture(scope="module")
def network() -> UNet2DConditionModel:
    """Its config is diffusers' default, but for the width of its text encoder."""
    with torch.device("meta"):
        return UNet2DConditionModel(cross_attention_dim=WIDTH)


def adapter_per_rank(network: nn.Module) -> int:
    """Parameters of A and B of rank one, in all layers that are adapted."""
    layers = (layer for name, layer in network.named_modules() if name.endswith(TARGETS))
    return sum(layer.in_features + layer.out_features for layer in layers)


def test_the_sizes_are_those_of_the_page(network: UNet2DConditionModel) -> None:
    assert f"{network.num_parameters():,} parameters" in PAGE
    assert f"{adapter_per_rank(network):,} r parameters" in PAGE


def test_the_operations_are_those_of_the_page(network: UNet2DConditionModel) -> None:
    told = torch.empty(1, TOKENS, WIDTH, device="meta")
    with FlopCounterMode(display=False) as counted:
        network(torch.empty(1, 4, SIDE, SIDE, device="meta"), torch.zeros(1, device="meta"), told)
    assert f"{counted.get_total_flops() / 1e12:.2f} TFLOP for an image" in PAGE


def test_the_memory_is_that_of_the_page(network: UNet2DConditionModel) -> None:
    whole, adapter = (4e-9 * count for count in (network.num_parameters(), RANK * adapter_per_rank(network)))
    row = re.search(r"\| the three networks \| (.+) \| (.+) \|", PAGE)
    assert row is not None
    assert row.groups() == (f"{3 * whole:.1f}", f"{whole + 2 * adapter:.1f}")
    assert whole + 2 * adapter <= 0.4 * 3 * whole
