"""Labels that are prompts: rows of a table, shared by copies, and the call of a text-to-image network."""

import copy

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from dmd.diffusion.denoiser import Denoiser
from dmd.diffusion.guidance import with_guidance
from dmd.diffusion.prompts import Prompts
from dmd.diffusion.schedule import NoiseSchedule

TRAIN, NULL, HELD_OUT = torch.randn(3, 5, 8).unbind(0), torch.randn(5, 8), torch.randn(2, 5, 8).unbind(0)


def prompts(null: Tensor | None = NULL) -> Prompts:
    return Prompts(torch.stack(TRAIN), None if null is None else null[None], torch.stack(HELD_OUT))


def test_rows_are_the_prompts_to_train_on_then_the_null_prompt_then_those_held_out() -> None:
    table = prompts()
    assert (table.count, table.first_held_out) == (3, 4)
    expected = [*TRAIN, NULL, *HELD_OUT]
    assert torch.equal(table.at(torch.arange(6).flip(0)), torch.stack(expected).flip(0))


@pytest.mark.parametrize(("table", "label"), [(prompts(), -1), (prompts(), 6), (prompts(None), 3)])
def test_a_label_that_is_no_row_is_refused(table: Prompts, label: int) -> None:
    with pytest.raises(ValueError, match=rf"label {label} is no prompt: there are 3 to train on"):
        table.at(torch.tensor([label]))


def test_tables_of_two_encoders_are_refused() -> None:
    with pytest.raises(ValueError, match=r"shapes \[\[3, 5, 8\], \[1, 5, 7\], \[2, 5, 8\]\] are not one table"):
        Prompts(torch.stack(TRAIN), torch.randn(1, 5, 7), torch.stack(HELD_OUT))


def text_denoiser(table: Prompts) -> Denoiser:
    torch.manual_seed(0)
    blocks = {"down_block_types": ("CrossAttnDownBlock2D",), "up_block_types": ("CrossAttnUpBlock2D",)}
    sizes = {"block_out_channels": (8,), "norm_num_groups": 2, "attention_head_dim": 4, "layers_per_block": 1}
    network = UNet2DConditionModel(sample_size=8, cross_attention_dim=8, **blocks, **sizes).eval()
    schedule = NoiseSchedule.from_betas(torch.linspace(1e-3, 0.02, 50, dtype=torch.float64))
    return Denoiser(network, schedule, "epsilon", prompts=table)


@torch.no_grad()
def test_the_network_is_told_the_rows_and_guidance_the_null_prompt() -> None:
    denoiser, labels, t = text_denoiser(prompts()), torch.tensor([2, 5]), torch.tensor([10, 40])
    x_t = torch.randn(2, 4, 8, 8)

    def x0(told: Tensor) -> Tensor:
        eps = denoiser.backbone(x_t, t, encoder_hidden_states=told).sample
        alpha, sigma = (
            table(t).float()[:, None, None, None] for table in (denoiser.schedule.alpha, denoiser.schedule.sigma)
        )
        return (x_t - sigma * eps) / alpha

    cond, uncond = x0(torch.stack([TRAIN[2], HELD_OUT[1]])), x0(torch.stack([NULL, NULL]))
    assert (cond - uncond).abs().max() > 1e-3
    torch.testing.assert_close(denoiser(x_t, t, labels), cond, rtol=0, atol=1e-5)
    guided = with_guidance(denoiser, 3.0, denoiser.prompts.count)
    torch.testing.assert_close(guided(x_t, t, labels), uncond + 3 * (cond - uncond), rtol=0, atol=1e-4)


def test_guidance_without_a_null_prompt_is_refused() -> None:
    denoiser = text_denoiser(prompts(None))
    assert (
        with_guidance(denoiser, 1.0, 3)(torch.randn(1, 4, 8, 8), torch.tensor([0]), torch.tensor([0])).isfinite().all()
    )
    with pytest.raises(ValueError, match=r"guidance_scale 3.0 needs the null prompt, .* run the stage `teacher` again"):
        with_guidance(denoiser, 3.0, 3)


def test_copies_of_a_denoiser_share_the_prompts() -> None:
    denoiser = text_denoiser(prompts())
    copied = copy.deepcopy(denoiser)
    assert copied.prompts is denoiser.prompts
    assert copied.backbone is not denoiser.backbone
