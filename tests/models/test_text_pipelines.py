"""A one-step generator that is told prompts: saved as a stock pipeline, which reloads and draws the same images."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline, StableDiffusionPipeline

from dmd.models import text
from dmd.models.codec import build_codec
from dmd.models.pipeline import load_generator, save_generator
from dmd.runtime.files import load_json
from tests.models.tiny_text import HELD_OUT, PROMPTS, pipeline

SHAPE, T_STAR = (3, 16, 16), 900


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_the_stock_pipeline_draws_the_generators_images(prediction_type: str, tmp_path: Path) -> None:
    stock = pipeline(prediction_type)
    stock.save_pretrained(tmp_path / "stock")
    words, folder = text.load_text(tmp_path / "stock"), tmp_path / "generator"
    prompts = text.encode_prompts(words, PROMPTS, HELD_OUT)
    save_generator(folder, stock.unet, dict(stock.scheduler.config), T_STAR, None, stock.vae, SHAPE, words)

    reloaded = DiffusionPipeline.from_pretrained(folder)
    reloaded.set_progress_bar_config(disable=True)
    assert type(reloaded) is StableDiffusionPipeline
    assert reloaded.safety_checker is None
    z = torch.randn(2, 4, 8, 8)
    asked: dict[str, Any] = {"num_inference_steps": 1, "guidance_scale": 0.0, "output_type": "pt", "latents": z}
    drawn = reloaded([PROMPTS[1], HELD_OUT[0]], **asked).images
    with torch.no_grad():
        generator = load_generator(folder, prompts)
        codec = build_codec(stock.vae, SHAPE, stock.unet.config)
        own = codec.decode(generator(z, torch.tensor([1, prompts.first_held_out])))
    torch.testing.assert_close(drawn, (own / 2 + 0.5).clamp(0, 1), rtol=0, atol=1e-5)
    assert drawn.std() > 0.01


def test_nothing_of_the_machine_travels_with_the_generator(tmp_path: Path) -> None:
    stock = pipeline()
    stock.save_pretrained(tmp_path / "stock")
    words, folder = text.load_text(tmp_path / "stock"), tmp_path / "generator"
    save_generator(folder, stock.unet, dict(stock.scheduler.config), T_STAR, None, stock.vae, SHAPE, words)
    for path in folder.rglob("*.json"):
        assert str(tmp_path) not in path.read_text(encoding="utf-8"), path
    assert load_json(folder / "model_index.json")["_class_name"] == "StableDiffusionPipeline"
