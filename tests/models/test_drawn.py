"""What a saved generator draws is of the shape that the params say, or nothing is put in place."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import ModelMixin

from dmd.models.codec import LatentCodec
from dmd.models.pipeline import save_generator
from tests.models import test_codec, test_edm_pipeline, test_latent_pipelines, test_pipeline

PIXELS, LATENTS = (3, 8, 8), test_latent_pipelines.SHAPE
BETAS, EDM = test_pipeline.scheduler_config(), test_edm_pipeline.teacher().scheduler_config


def of_pixels(classes: int | None, scheduler: dict[str, Any] = BETAS, timesteps: Any = 300) -> tuple[Any, ...]:
    network = test_pipeline.small_unet(None if classes is None else classes + 1)
    return network, scheduler, timesteps, classes, None


def of_latents(classes: int | None) -> tuple[Any, ...]:
    return test_latent_pipelines.network(classes), BETAS, 300, classes, test_codec.autoencoder()


KINDS: dict[str, tuple[Any, tuple[int, int, int]]] = {
    "DDIMPipeline": (lambda: of_pixels(None), PIXELS),
    "OneStepPipeline": (lambda: of_pixels(4), PIXELS),
    "of two steps": (lambda: of_pixels(None, timesteps=[300, 100]), PIXELS),
    "ConsistencyModelPipeline": (lambda: of_pixels(None, EDM, 20), PIXELS),
    "ConsistencyModelPipeline with classes": (lambda: of_pixels(4, EDM, 20), PIXELS),
    "DiTPipeline": (lambda: of_latents(test_latent_pipelines.CLASSES), LATENTS),
    "LDMPipeline": (lambda: of_latents(None), LATENTS),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_shape_that_each_pipeline_draws_is_held(kind: str, tmp_path: Path) -> None:
    make, shape = KINDS[kind]
    given = make()
    save_generator(tmp_path / "right", *given, shape)
    assert (tmp_path / "right" / "model_index.json").is_file()
    said = rf"draws images of \[{', '.join(map(str, shape))}\], but dataset.image_shape needs \[1, 8, 16\]"
    with pytest.raises(ValueError, match=said):
        save_generator(tmp_path / "wrong", *given, (1, 8, 16))
    assert not (tmp_path / "wrong").exists()


def test_a_network_saved_as_a_square_does_not_pass_for_a_strip(tmp_path: Path) -> None:
    square: ModelMixin = test_pipeline.small_unet(None)
    with torch.no_grad():
        assert square(torch.zeros(1, 3, 8, 16), 0).sample.shape == (1, 3, 8, 16)  # which it could draw
    with pytest.raises(ValueError, match=r"draws images of \[3, 8, 8\], .* \[3, 8, 16\]: the teacher's config.json"):
        save_generator(tmp_path / "generator", square, BETAS, 300, image_shape=(3, 8, 16))


def test_of_latents_the_padding_is_drawn_too() -> None:
    codec = LatentCodec(test_codec.autoencoder(), (1, 11, 14), multiple=2)
    x = codec.autoencoder.decode(torch.zeros(1, *codec.latent_shape)).sample
    assert codec.decoded_shape == x.shape[1:] == (1, 12, 16)
