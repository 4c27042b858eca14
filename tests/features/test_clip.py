"""The CLIP score is the cosine of both embeddings, of each image with its own prompt.

The network has initial weights: this tells of plumbing, not of quality.
"""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from dmd.features.clip import load_clip
from dmd.runtime.files import load_tensors
from tests.models.tiny_text import LENGTH, tokenizer, transformers

PROMPTS, SIDE = ["a cat", "no dog at all"], 16


def write(folder: Path) -> None:
    torch.manual_seed(0)
    words = tokenizer()
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    ends = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    text = {**sizes, **ends, "vocab_size": len(words), "max_position_embeddings": LENGTH}
    vision = {**sizes, "image_size": SIDE, "patch_size": 8}
    config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)
    transformers.CLIPModel(config).save_pretrained(folder)
    images = transformers.CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})
    transformers.CLIPProcessor(images, words).save_pretrained(folder)


@torch.no_grad()
def cosine(folder: Path, image: Tensor, prompt: str) -> Tensor:
    """Of one image of the network's own size, with no call that prepares it."""
    model = transformers.CLIPModel.from_pretrained(folder).eval()
    mean, std = (
        torch.tensor(values)[:, None, None]
        for values in (
            [0.48145466, 0.4578275, 0.40821073],
            [0.26862954, 0.26130258, 0.27577711],
        )
    )
    pixels = ((image + 1) / 2 - mean) / std
    ids = torch.tensor([tokenizer()(prompt).input_ids])
    seen = model.visual_projection(model.vision_model(pixel_values=pixels[None]).pooler_output)
    told = model.text_projection(model.text_model(input_ids=ids).pooler_output)
    return functional.cosine_similarity(seen, told)[0]


def test_each_image_is_held_to_its_own_prompt(tmp_path: Path) -> None:
    write(tmp_path)
    score = load_clip(tmp_path)
    images = torch.randint(0, 256, (2, 3, SIDE, SIDE)) / 127.5 - 1
    found = score(images, PROMPTS)
    expected = torch.stack([cosine(tmp_path, *pair) for pair in zip(images, PROMPTS, strict=True)])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    assert (found[0] - found[1]).abs() > 1e-3
    grey = images[:, :1]
    torch.testing.assert_close(score(grey, PROMPTS), score(grey.expand(-1, 3, -1, -1), PROMPTS))


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"evaluate.clip {tmp_path}: no CLIP model in transformers' format"):
        load_clip(tmp_path)


@pytest.mark.parametrize("change", ["absent", "not finite"])
def test_weights_that_are_not_whole_are_named(tmp_path: Path, change: str) -> None:
    """Else the network would score by initial weights."""
    write(tmp_path)
    tensors = load_tensors(tmp_path / "model.safetensors")
    if change == "absent":
        del tensors["visual_projection.weight"]
    else:
        tensors["visual_projection.weight"][0, 0] = torch.nan
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=rf"evaluate.clip {tmp_path}: .* visual_projection.weight; fetch them again"):
        load_clip(tmp_path)
