"""`dmd draw` of a text-to-image generator: its pictures are those that the stock pipeline draws of the same prompts."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diffusers import DiffusionPipeline
from PIL import Image
from typer.testing import CliRunner

from dmd.commands.app import app
from dmd.diffusion.rng import Stream, sample_noise
from dmd.models.pipeline import save_generator
from dmd.models.text import Text
from tests.commands.test_draw import SCHEDULER, network
from tests.models.tiny_text import pipeline

LATENT = (4, 8, 8)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a generator of text, and one with the pipeline of many steps that it was made of."""
    folder, stock = tmp_path_factory.mktemp("folders"), pipeline()
    stock.save_pretrained(folder / "stock")
    scheduler, words = dict(stock.scheduler.config), Text(stock.tokenizer, stock.text_encoder)
    save_generator(folder / "generator", stock.unet, scheduler, 900, None, stock.vae, (3, 16, 16), words)
    return folder


def draw(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["draw", *map(str, arguments)])


def test_each_image_is_the_stock_pipelines_of_its_prompt(folders: Path, tmp_path: Path) -> None:
    told = ["--prompt", "a cat", "--prompt", "two dogs"]
    result = draw(folders / "generator", tmp_path / "files", *told, "--count", 3, "--seed", 2)
    assert result.exit_code == 0, result.output
    assert "; 1 network call and " in result.output
    stock = DiffusionPipeline.from_pretrained(folders / "generator")
    z = sample_noise(2, range(3), LATENT, Stream.EVALUATION)
    asked: dict[str, Any] = {"num_inference_steps": 1, "guidance_scale": 0.0, "output_type": "np", "latents": z}
    expected = stock(["a cat", "two dogs", "a cat"], **asked).images
    assert expected.std() > 0.01
    for number, image in enumerate(expected):
        with Image.open(tmp_path / "files" / f"{number:05d}-prompt-{number % 2}.png") as picture:
            np.testing.assert_allclose(np.asarray(picture) / 255, image, rtol=0, atol=0.51 / 255)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["generator"], "generator is told prompts; give --prompt 'a cat', once for each"),
        (["generator", "--prompt", "a cat", "--steps", "4"], "a generator has its own steps and no guidance"),
        (["stock", "--prompt", "a cat"], "stock: a text-to-image pipeline of many steps, which diffusers draws"),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_one_line(
    arguments: list[str], said: str, folders: Path, tmp_path: Path
) -> None:
    source, *options = arguments
    result = draw(folders / source, tmp_path / "x.png", *options)
    assert result.exit_code != 0
    assert said in " ".join(result.output.split())
    assert not (tmp_path / "x.png").exists()


def test_a_model_of_pixels_is_told_no_prompts(tmp_path: Path) -> None:
    save_generator(tmp_path / "generator", network(5), SCHEDULER, 40, 5)
    result = draw(tmp_path / "generator", tmp_path / "x.png", "--prompt", "a cat")
    assert result.exit_code == 1
    assert "generator is told no prompts; leave --prompt away" in " ".join(result.output.split())
