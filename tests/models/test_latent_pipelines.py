"""Generators of latents as diffusers' stock pipelines, which draw the same images without a line of this project."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, DiffusionPipeline, DiTPipeline, LDMPipeline, ModelMixin, UNet2DModel
from torch import Tensor

from dmd.diffusion.generator import Generator
from dmd.models.codec import LatentCodec, load_autoencoder
from dmd.models.latent_pipelines import find_parts
from dmd.models.pipeline import load_generator, save_generator
from dmd.models.teacher import Teacher
from dmd.runtime.files import load_json
from tests.models.test_codec import autoencoder
from tests.models.test_compatibility import SCHEDULE
from tests.models.test_latent_teachers import CLASSES, LATENT, SHAPE, dit, unet_config

T_STAR, COUNT, LABELS = 200, 3, [3, 0, 4]


def network(classes: int | None) -> ModelMixin:
    torch.manual_seed(0)
    return UNet2DModel.from_config(unet_config()).eval() if classes is None else dit()


def noise() -> Tensor:
    return torch.randn(COUNT, *LATENT, generator=torch.Generator().manual_seed(1))


def draw(pipeline: DiffusionPipeline) -> Tensor:
    """Images [B, C, H, W] in [0, 1], from the same noise as `noise`."""
    pipeline.set_progress_bar_config(disable=True)
    asked: dict[str, Any] = {"batch_size": COUNT}
    if isinstance(pipeline, DiTPipeline):
        asked = {"class_labels": LABELS, "guidance_scale": 1.0}
    generator = torch.Generator().manual_seed(1)
    images = pipeline(**asked, generator=generator, num_inference_steps=1, output_type="np").images
    return torch.as_tensor(images).permute(0, 3, 1, 2)


@pytest.mark.parametrize(
    ("classes", "kind", "channels"), [(CLASSES, DiTPipeline, 6), (CLASSES, DiTPipeline, None), (None, LDMPipeline, 3)]
)
def test_the_stock_pipeline_draws_the_generators_images(
    classes: int | None, kind: type, channels: int | None, tmp_path: Path
) -> None:
    backbone, codec = dit(channels) if classes else network(None), LatentCodec(autoencoder(), SHAPE)
    labels = None if classes is None else torch.tensor(LABELS)
    save_generator(tmp_path / "generator", backbone, SCHEDULE, T_STAR, classes, codec.autoencoder)
    with torch.no_grad():
        z = Generator(Teacher(backbone, SCHEDULE).denoiser, T_STAR)(noise(), labels)
        expected = codec.decode(z)
        torch.testing.assert_close(load_generator(tmp_path / "generator")(noise(), labels), z, rtol=0, atol=1e-6)
        kept = load_autoencoder(tmp_path / "generator" / str(find_parts(tmp_path / "generator").codec))
        torch.testing.assert_close(LatentCodec(kept, SHAPE).decode(z), expected, rtol=0, atol=1e-6)
    shown = (expected / 2 + 0.5).clamp(0, 1)
    assert shown.std() > 0.01
    for loader in (DiffusionPipeline, kind):
        pipeline = loader.from_pretrained(tmp_path / "generator")
        assert type(pipeline) is kind
        torch.testing.assert_close(draw(pipeline), shown, rtol=0, atol=1e-5)


def test_only_diffusers_own_classes_and_weights_are_written(tmp_path: Path) -> None:
    save_generator(tmp_path / "generator", dit(), SCHEDULE, T_STAR, CLASSES, autoencoder())
    files = {path.relative_to(tmp_path / "generator").as_posix() for path in (tmp_path / "generator").rglob("*.*")}
    assert files == {
        "model_index.json",
        "scheduler/scheduler_config.json",
        *(f"{part}/{name}" for part in ("transformer", "vae") for name in ("config.json", WEIGHTS)),
    }
    index = load_json(tmp_path / "generator" / "model_index.json")
    assert index["transformer"] == ["diffusers", "DiTTransformer2DModel"]
    assert index["vae"] == ["diffusers", "AutoencoderKL"]


WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.mark.parametrize(
    ("timesteps", "shift", "part"),
    [([200, 100], None, "generator_timesteps has 2.*one timestep"), (200, 0.1, "shift_factor is 0.1.*teacher.source")],
)
def test_what_no_stock_pipeline_draws_is_refused(
    timesteps: Any, shift: float | None, part: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=part):
        save_generator(tmp_path / "generator", dit(), SCHEDULE, timesteps, CLASSES, autoencoder(shift_factor=shift))
    assert not (tmp_path / "generator").exists()


def test_one_of_pixels_has_no_codec(tmp_path: Path) -> None:
    backbone = UNet2DModel.from_config(unet_config()).eval()
    save_generator(tmp_path / "generator", backbone, SCHEDULE, T_STAR)
    assert find_parts(tmp_path / "generator").codec is None
    assert DDIMScheduler.from_pretrained(tmp_path / "generator" / "scheduler").config.num_train_timesteps == T_STAR + 1
