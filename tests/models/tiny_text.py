"""A text-to-image pipeline with initial weights and a real tokenizer, made in a moment: what it draws is no picture."""

from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel

transformers = pytest.importorskip("transformers", reason="needs the extra `text`")

LENGTH, WIDTH, SCALE = 12, 16, 0.5
PROMPTS = ["a cat", "a dog", "two cats"]
HELD_OUT = ["a cat and a dog", "no dog"]


def tokenizer() -> Any:
    """CLIP's own tokenizer with a vocabulary of letters and one merge."""
    letters = [chr(code) for code in range(33, 127)]
    tokens = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{letter}</w>" for letter in letters), "ca"]
    vocabulary = {token: row for row, token in enumerate(tokens)}
    return transformers.CLIPTokenizer(vocab=vocabulary, merges=[("c", "a")], model_max_length=LENGTH)


def text_encoder(tokens: int) -> Any:
    sizes = {"hidden_size": WIDTH, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    ends = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    config = transformers.CLIPTextConfig(vocab_size=tokens, max_position_embeddings=LENGTH, **sizes, **ends)
    return transformers.CLIPTextModel(config).eval()


def pipeline(prediction_type: str = "epsilon", channels: int = 3, side: int = 8) -> StableDiffusionPipeline:
    """Of latents of so many rows, of images twice as large."""
    torch.manual_seed(0)
    codec = AutoencoderKL(
        in_channels=channels,
        out_channels=channels,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(4, 4),
        norm_num_groups=2,
        latent_channels=4,
        scaling_factor=SCALE,
    )
    network = UNet2DConditionModel(
        sample_size=side,
        cross_attention_dim=WIDTH,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D", "CrossAttnUpBlock2D"),
        block_out_channels=(8, 8, 8),
        layers_per_block=1,
        norm_num_groups=2,
        attention_head_dim=4,
    )
    words = tokenizer()
    scheduler = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        steps_offset=1,
        prediction_type=prediction_type,
    )
    parts = codec.eval(), text_encoder(len(words)), words, network.eval(), scheduler, None, None
    return StableDiffusionPipeline(*parts, requires_safety_checker=False)
