"""The talk's CelebA network, against weights, inputs and outputs of the original."""

import json
from pathlib import Path

import pytest
import torch

from dmd.models.celeba_unet import CelebAUNet, time_table
from dmd.runtime.files import load_tensors

pytestmark = pytest.mark.maths

GOLDEN = Path(__file__).resolve().parents[1] / "data" / "golden"


@pytest.fixture(scope="module")
def golden() -> dict[str, torch.Tensor]:
    return load_tensors(GOLDEN / "celeba_unet.safetensors")


@pytest.fixture(scope="module")
def network(golden: dict[str, torch.Tensor]) -> CelebAUNet:
    net = CelebAUNet().eval()
    net.load_state_dict({name[8:]: value for name, value in golden.items() if name.startswith("weights.")})
    return net


def test_the_entries_and_counts_are_those_of_the_original() -> None:
    net = CelebAUNet()
    expected = json.loads((GOLDEN / "celeba_unet_state_dict.json").read_text())
    found = {name: [str(value.dtype)[6:], list(value.shape)] for name, value in net.state_dict().items()}
    assert found == expected["entries"]
    assert sum(weights.numel() for weights in net.parameters()) == expected["parameters"] == 426_691
    assert net.time_embed.weight.numel() == 64_000
    assert not net.time_embed.weight.requires_grad


@torch.no_grad()
def test_the_output_is_that_of_the_original(network: CelebAUNet, golden: dict[str, torch.Tensor]) -> None:
    epsilon = network(golden["in.x_t"], golden["in.timestep"]).sample
    assert (epsilon - golden["out.epsilon"]).abs().max() <= 1e-5


def test_the_time_table_is_that_of_the_original(golden: dict[str, torch.Tensor]) -> None:
    """To the rounding of a float32 angle of a thousand."""
    assert (time_table(1000, 64) - golden["weights.time_embed.weight"]).abs().max() < 1e-4


def test_every_weight_that_trains_gets_a_gradient() -> None:
    """So that a run on several processes waits for none; the attention's unused norms do not train."""
    net = CelebAUNet()
    net(torch.randn(2, 3, 32, 32), torch.tensor([3, 900])).sample.square().mean().backward()
    idle = {name for name, weights in net.named_parameters() if weights.grad is None}
    assert idle == {name for name, weights in net.named_parameters() if not weights.requires_grad}
    assert all(name.endswith(("attn.norm.weight", "attn.norm.bias", "time_embed.weight")) for name in idle)


@torch.no_grad()
def test_one_time_for_all_is_that_time_for_each(network: CelebAUNet, golden: dict[str, torch.Tensor]) -> None:
    x = golden["in.x_t"]
    one = network(x, 500, return_dict=False)[0]
    assert torch.equal(one, network(x, torch.full((4,), 500)).sample)
    assert torch.equal(one, network(x, torch.tensor(500)).sample)


def test_classes_are_refused() -> None:
    with pytest.raises(ValueError, match="no classes"):
        CelebAUNet(num_class_embeds=11)
    with pytest.raises(ValueError, match="no classes"):
        CelebAUNet()(torch.zeros(1, 3, 32, 32), 0, torch.tensor([1]))
    with pytest.raises(ValueError, match="multiple of 4"):
        CelebAUNet(sample_size=30)
