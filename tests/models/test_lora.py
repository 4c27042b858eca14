"""Adapters over one base: they start as the base to the bit, learn apart, and leave as weights that diffusers reads.

The network has initial weights: this tells of plumbing, not of quality.
"""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler
from torch import Tensor

pytest.importorskip("peft", reason="needs the extra `text`")

from dmd.diffusion.calls import call_of, text_to_image
from dmd.models.lora import FAKE, GENERATOR, Adapted, adapt, adapters, check_adapted, save_adapter, size
from tests.models.tiny_text import WIDTH, pipeline

X, T, TOLD = torch.randn(2, 4, 8, 8), torch.tensor([900, 30]), torch.randn(2, 5, WIDTH)


def drawn(network: Any) -> Tensor:
    return call_of(network)(network, X, T, TOLD)


def trained(*networks: Adapted) -> None:
    """Other weights than those at the start."""
    torch.manual_seed(1)
    with torch.no_grad():
        for network in networks:
            for weight in network.parameters():
                weight += 0.1 * torch.randn_like(weight)


def test_all_three_start_as_the_network_to_the_bit_and_own_their_adapters_alone() -> None:
    network = pipeline().unet
    three = adapt(network, rank=2, seed=0)
    with torch.no_grad():
        truth = drawn(network)
        for adapted in three:
            assert call_of(adapted) is text_to_image
            assert torch.equal(drawn(adapted), truth)
    assert all(weight.requires_grad for adapted in three for weight in adapted.parameters())
    assert len({id(adapted.base) for adapted in three}) == 1
    assert three[0].base is not network
    assert not [name for name, _ in network.named_parameters() if "lora" in name]
    every = list(adapters(three[0].base))
    for adapted in three:
        own = {id(weight) for weight in adapted.parameters()}
        assert own == {id(weight) for name, weight in every if name == adapted.adapter}
    assert sum(weight.numel() for weight in three[2].parameters()) == 0
    again = adapt(network, rank=2, seed=0)
    assert all(map(torch.equal, three[0].state_dict().values(), again[0].state_dict().values()))


def test_a_gradient_is_its_own_adapters_whatever_is_called_meanwhile() -> None:
    generator, fake, real = adapt(pipeline().unet, rank=2, seed=0)
    trained(generator, fake)
    x = drawn(generator)
    with torch.no_grad():
        others = [drawn(network) for network in (real, fake)]
    assert all((x - other).abs().max() > 1e-4 for other in others)
    x.square().sum().backward()
    found = [weight.grad.clone() for weight in generator.parameters()]
    assert all(gradient.abs().max() > 0 for gradient in found)
    assert all(weight.grad is None for weight in fake.parameters())
    assert all(weight.grad is None for name, weight in real.base.named_parameters() if "lora" not in name)
    for weight in generator.parameters():
        weight.grad = None
    drawn(generator).square().sum().backward()
    for weight, gradient in zip(generator.parameters(), found, strict=True):
        torch.testing.assert_close(weight.grad, gradient)


@torch.no_grad()
def test_the_fused_network_is_plain_and_draws_the_same() -> None:
    generator, fake, real = adapt(pipeline().unet, rank=2, seed=0)
    trained(generator, fake)
    before = drawn(real)
    fused = generator.fused()
    assert not [name for name, _ in fused.named_parameters() if "lora" in name]
    assert type(fused).__name__ == "UNet2DConditionModel"
    assert size(generator) == size(real) == sum(weight.numel() for weight in fused.parameters())
    torch.testing.assert_close(drawn(fused), drawn(generator), rtol=0, atol=1e-5)
    assert (drawn(fused) - before).abs().max() > 1e-3
    assert torch.equal(drawn(real), before)


@torch.no_grad()
def test_load_lora_weights_makes_the_stock_pipeline_draw_as_the_generator(tmp_path: Path) -> None:
    stock = pipeline()
    stock.scheduler = DDIMScheduler.from_config(stock.scheduler.config, timestep_spacing="trailing")
    stock.set_progress_bar_config(disable=True)
    generator, fake, _ = adapt(stock.unet, rank=2, seed=0)
    trained(generator, fake)
    asked: dict[str, Any] = {"num_inference_steps": 1, "guidance_scale": 0.0, "output_type": "latent", "latents": X}
    save_adapter(tmp_path / "lora", generator)
    assert [path.name for path in (tmp_path / "lora").iterdir()] == ["pytorch_lora_weights.safetensors"]
    before = stock(["a cat", "a dog"], **asked).images
    stock.load_lora_weights(tmp_path / "lora")
    found = stock(["a cat", "a dog"], **asked).images
    stock.unload_lora_weights()
    stock.unet = generator.fused()
    torch.testing.assert_close(found, stock(["a cat", "a dog"], **asked).images, rtol=0, atol=1e-5)
    assert (found - before).abs().max() > 1e-3


def test_three_networks_take_little_more_memory_than_one() -> None:
    network = pipeline().unet
    three = adapt(network, rank=2, seed=0)
    base = sum(weight.nbytes for weight in network.parameters())
    together = {id(weight): weight.nbytes for adapted in three for weight in adapted.base.parameters()}
    assert sum(together.values()) <= 0.5 * 3 * base
    assert {name for name, _ in adapters(three[0].base)} == {GENERATOR, FAKE}


def test_other_networks_are_not_adapted() -> None:
    check_adapted("UNet2DConditionModel")
    with pytest.raises(ValueError, match=r"distill.lora: UNet2DModel is trained whole, .*set to null"):
        check_adapted("UNet2DModel")
