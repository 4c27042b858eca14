"""Teachers that are told prompts: encoded as the stock pipeline does, kept on disk, held to their configs.

The networks have initial weights and the tokenizer a vocabulary of letters: this tells of plumbing, not of quality.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from dmd.models import text
from dmd.models.compatibility import check_agreement
from dmd.models.teacher import Teacher
from tests.models.tiny_text import HELD_OUT, LENGTH, PROMPTS, WIDTH, pipeline

SHAPE = (3, 16, 16)


@pytest.fixture(scope="module")
def stock() -> Any:
    return pipeline()


@pytest.fixture
def folder(stock: Any, tmp_path: Path) -> Path:
    """The teacher of the stock pipeline, as the stage `teacher` writes it."""
    stock.save_pretrained(tmp_path / "stock")
    words = text.load_text(tmp_path / "stock")
    prompts = text.encode_prompts(words, PROMPTS, HELD_OUT)
    scheduler = {"num_train_timesteps": 1000, "beta_schedule": "scaled_linear", "beta_start": 0.00085}
    scheduler |= {"beta_end": 0.012, "prediction_type": "epsilon", "clip_sample": False}
    Teacher(stock.unet, scheduler, stock.vae, prompts, tmp_path / "stock").save(tmp_path / "teacher")
    return tmp_path / "teacher"


@torch.no_grad()
def test_a_teacher_from_disk_is_told_what_the_stock_pipeline_encodes(stock: Any, folder: Path) -> None:
    teacher = Teacher.load(folder)
    assert teacher.prompts is not None
    assert (teacher.num_labels(None), teacher.prompts.count) == (3, 3)
    given = [*PROMPTS, "", *HELD_OUT]
    truth = torch.cat([stock.encode_prompt(prompt, torch.device("cpu"), 1, False)[0] for prompt in given])
    assert truth.shape == (6, LENGTH, WIDTH)
    torch.testing.assert_close(teacher.prompts.at(torch.arange(6)), truth, rtol=0, atol=1e-6)
    assert (truth[0] - truth[1]).abs().max() > 0.1

    x_t, t = torch.randn(2, 4, 8, 8), torch.tensor([700, 30])
    eps = stock.unet(x_t, t, encoder_hidden_states=truth[[1, 4]]).sample
    alpha_bar = stock.scheduler.alphas_cumprod[t][:, None, None, None]
    x0 = (x_t - (1 - alpha_bar).sqrt() * eps) / alpha_bar.sqrt()
    torch.testing.assert_close(teacher.denoiser(x_t, t, torch.tensor([1, 4])), x0, rtol=1e-5, atol=1e-4)


def test_tokenizer_and_encoder_travel_with_the_teacher(folder: Path, tmp_path: Path) -> None:
    teacher = Teacher.load(folder)
    teacher.save(tmp_path / "again")
    words = text.load_text(tmp_path / "again")
    found = text.encode(words, HELD_OUT)
    torch.testing.assert_close(found, Teacher.load(tmp_path / "again").prompts.held_out)


def test_a_broken_text_encoder_is_named(folder: Path) -> None:
    weights = folder / text.ENCODER / text.WEIGHTS
    tensors = load_file(weights)
    name = next(name for name in tensors if name.endswith("final_layer_norm.weight"))
    save_file({key: value for key, value in tensors.items() if key != name}, weights, {"format": "pt"})
    with pytest.raises(ValueError, match=r"text_encoder: the weights do not fit config.json: .*final_layer"):
        text.load_text(folder)
    save_file(tensors | {name: torch.full_like(tensors[name], float("nan"))}, weights, {"format": "pt"})
    with pytest.raises(ValueError, match=r"final_layer_norm.weight has values that are not finite"):
        text.load_text(folder)
    (folder / text.TOKENIZER / "tokenizer.json").write_text("{")
    save_file(tensors, weights, {"format": "pt"})
    with pytest.raises(ValueError, match=r"teacher/tokenizer cannot be read"):
        text.load_text(folder)


def agreement(stock: Any, **changes: Any) -> dict[str, Any]:
    network = {"_class_name": "UNet2DConditionModel", **stock.unet.config, **changes}
    codec = {"_class_name": "AutoencoderKL", **stock.vae.config}
    words = json.loads(stock.text_encoder.config.to_json_string())
    scheduler = {"_class_name": "DDIMScheduler", **stock.scheduler.config}
    return check_agreement(network, scheduler, None, SHAPE, None, guidance_scale=3.0, codec=codec, text=words)


def test_configs_that_fit_pass_with_guidance(stock: Any) -> None:
    found = agreement(stock)
    assert (found["beta_schedule"], found["prediction_type"]) == ("scaled_linear", "epsilon")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cross_attention_dim": 32}, r"cross_attention_dim is 32, but the text encoder, by its hidden_size, needs 16"),
        ({"_class_name": "UNet2DModel"}, r"_class_name is UNet2DModel, but a text encoder needs UNet2DConditionModel"),
        ({"in_channels": 9}, r"in_channels is 9, but the codec, whose latents are \[4, 8, 8\], needs 4"),
        ({"time_cond_proj_dim": 256}, r"latent consistency models are, which are no teachers: take what it was"),
        ({"addition_embed_type": "text_time"}, r"addition_embed_type is 'text_time': the network is told sizes"),
        (
            {"down_block_types": ["SimpleCrossAttnDownBlock2D", "DownBlock2D", "DownBlock2D"]},
            r"config.json: down_block_types is",
        ),
        ({"attention_head_dim": 3, "norm_num_groups": 3}, r"norm_num_groups 3 does not divide 8 channels"),
    ],
)
def test_a_network_that_does_not_fit_its_text_is_refused(stock: Any, changes: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        agreement(stock, **changes)


@pytest.mark.parametrize(("key", "value"), [("architectures", ["T5EncoderModel"]), ("hidden_size", None)])
def test_another_text_encoder_is_refused(stock: Any, key: str, value: Any) -> None:
    config = {**json.loads(stock.text_encoder.config.to_json_string()), "architectures": ["CLIPTextModel"]}
    text.check_text(config)
    with pytest.raises(ValueError, match=rf"text_encoder/config.json: {key} is"):
        text.check_text({**config, key: value})
