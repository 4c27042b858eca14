"""A teacher of latents from a stock pipeline's folder: fetch, teacher, pairs, distillation, generator, evaluation.

The truth of the pairs is diffusers' own DDIM with the folder's network, that of the images the folder's autoencoder.
"""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DiffusionPipeline,
    DiTPipeline,
    DiTTransformer2DModel,
    LDMPipeline,
    UNet2DModel,
)
from torch import Tensor

from dmd.datasets.pairs import PairStore
from dmd.diffusion.generator import Generator
from dmd.models.codec import load_codec
from dmd.models.pipeline import load_generator
from dmd.models.teacher import Teacher
from dmd.params.config import Config, load_config
from dmd.runtime.files import file_sha256, load_json, load_tensors, save_json
from stages import distill, evaluate, fetch, pairs, teacher
from tests.stages.test_fetch import params, root

__all__ = ["root"]  # a fixture

STEPS, T_STAR, SCALE = 4, 300, 0.5
SHAPE, LATENT = (1, 28, 28), (3, 8, 8)  # two halvings and patches of two: padded to 32
HEARD = {"distill__discriminator__kind": "convolutional", "distill__discriminator__weight": 0.06}
BASE: dict[str, Any] = {
    "teacher__source": "given",
    "teacher__schedule": None,
    "pairs__count": 4,
    "pairs__batch_size": 3,
    "pairs__solver": "ddim",
    "pairs__num_steps": STEPS,
    "evaluate__solver": "ddim",
    "evaluate__num_steps": STEPS,
    "distill__generator_timesteps": [T_STAR],
    "distill__batch_size": 2,
    "distill__pairs_batch_size": 2,
    "distill__steps": 1,
    "distill__history_epochs": 1,
    "distill__perceptual__resolution": 28,
    "distill__snapshot_samples": 20,
}


def write(folder: Path, classes: int | None) -> DiffusionPipeline:
    """A stock pipeline with initial weights; of the DiT, the class has the name that the Hub's configs have."""
    torch.manual_seed(0)
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 3, "up_block_types": ("UpDecoderBlock2D",) * 3}
    sizes = {"block_out_channels": (4, 4, 4), "norm_num_groups": 2, "latent_channels": 3}
    codec = AutoencoderKL(in_channels=1, out_channels=1, **blocks, **sizes, scaling_factor=SCALE)
    if classes is None:
        levels = {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2}
        shape = {"sample_size": 8, "in_channels": 3, "out_channels": 3}
        unet = UNet2DModel(**levels, **shape, block_out_channels=(4, 8), layers_per_block=1, norm_num_groups=2)
        pipeline = LDMPipeline(codec, unet, DDIMScheduler())
        pipeline.save_pretrained(folder)
        return pipeline
    tiny = {"num_attention_heads": 2, "attention_head_dim": 4, "num_layers": 1, "norm_num_groups": 2}
    shape = {"sample_size": 8, "in_channels": 3, "out_channels": 6}
    pipeline = DiTPipeline(DiTTransformer2DModel(**tiny, **shape, num_embeds_ada_norm=classes), codec, DDIMScheduler())
    pipeline.save_pretrained(folder)
    config = load_json(folder / "transformer/config.json")
    save_json(folder / "transformer/config.json", {**config, "_class_name": "Transformer2DModel"})
    return pipeline


@torch.no_grad()
def ddim(pipeline: DiffusionPipeline, z: Tensor, labels: Tensor | None) -> Tensor:
    """Latents by diffusers alone."""
    solver = DDIMScheduler.from_config(pipeline.scheduler.config, timestep_spacing="trailing", clip_sample=False)
    solver.set_timesteps(STEPS)
    x = z
    for t in solver.timesteps:
        if labels is None:
            eps = pipeline.unet(x, t).sample
        else:
            eps = pipeline.transformer(x, timestep=t.expand(len(x)), class_labels=labels).sample[:, :3]
        x = solver.step(eps, t, x).prev_sample
    return x


@torch.no_grad()
def decoded(pipeline: DiffusionPipeline, z: Tensor) -> Tensor:
    """Images by diffusers alone, two pixels cut off at each side."""
    codec = pipeline.vqvae if isinstance(pipeline, LDMPipeline) else pipeline.vae
    return codec.eval().decode(z / SCALE).sample[..., 2:-2, 2:-2]


def distilled(root: Path, classes: int | None) -> tuple[DiffusionPipeline, Config]:
    """The stock pipeline, and the params of the system that the first three stages made of it."""
    original = write(root / "given", classes)
    (original.unet if classes is None else original.transformer).eval()
    config = load_config(params(root, **BASE, dataset__num_classes=classes))
    for stage in (fetch, teacher, pairs):
        stage.main(config)
    return original, config


def teacher_of(root: Path, config: Config) -> Teacher:
    return Teacher.load(root / "models" / config.system / "teacher")


@pytest.mark.parametrize("classes", [None, 10])
def test_pairs_and_the_regression_are_those_of_the_folder(root: Path, classes: int | None) -> None:
    original, config = distilled(root, classes)
    store = PairStore(root / "data" / config.system / "pairs")
    found = store.read(range(4))
    expected = ddim(original, found["z"], found["label"] if classes else None)
    assert store.image_shape == LATENT
    torch.testing.assert_close(found["x0"], expected, rtol=0, atol=1e-3 * float(expected.abs().max()))

    for space in ("images", "latents"):
        config = load_config(params(root, **BASE, dataset__num_classes=classes, distill__perceptual__space=space))
        distiller = distill.prepare(config).distiller
        batch, given = distiller.batches.draw(0), Generator(teacher_of(root, config).denoiser, T_STAR)
        with torch.no_grad():
            sides = [given(batch["z_ref"], batch["labels_ref"] if classes else None), batch["x_ref"]]
        drawn, wanted = (decoded(original, x) for x in sides) if space == "images" else sides
        record = distiller.step(0)
        assert record["distribution_matching"] == 0
        torch.testing.assert_close(record["regression"], (drawn - wanted).square().mean(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("classes", [None, 10])
def test_the_generator_is_a_stock_pipeline_and_all_models_draw_images(root: Path, classes: int | None) -> None:
    original, config = distilled(root, classes)
    distill.main(config)
    folder, labels = root / "models" / config.system / "generator", torch.tensor([3, 1, 4]) if classes else None
    pipeline = DiffusionPipeline.from_pretrained(folder)
    assert type(pipeline) is (LDMPipeline if classes is None else DiTPipeline)
    asked: dict[str, Any] = {"class_labels": [3, 1, 4], "guidance_scale": 1.0} if classes else {"batch_size": 3}
    images = pipeline(**asked, generator=torch.Generator().manual_seed(0), num_inference_steps=1, output_type="np")
    shown = torch.as_tensor(images.images).permute(0, 3, 1, 2)[..., 2:-2, 2:-2]
    z = torch.randn(3, *LATENT, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        own = load_codec(folder.with_name("teacher"), SHAPE).decode(load_generator(folder)(z, labels))
    torch.testing.assert_close(shown, (own / 2 + 0.5).clamp(0, 1), rtol=0, atol=1e-5)

    models, makes_pairs = evaluate.build_models(config, teacher_of(root, config), z.device)
    truth = ddim(original, z, labels)
    with torch.no_grad():
        torch.testing.assert_close(models["student"](z, labels), own, rtol=0, atol=1e-5)
        pairs_latents, teachers_images = makes_pairs(z, labels), models["teacher"](z, labels)
    torch.testing.assert_close(pairs_latents, truth, rtol=0, atol=1e-3 * float(truth.abs().max()))
    torch.testing.assert_close(teachers_images, decoded(original, truth), rtol=0, atol=1e-2)
    history = load_tensors(root / "data" / config.system / "training" / "history.safetensors")
    assert history["x0_pair"].shape[1:] == history["images_step_00001"].shape[1:] == SHAPE
    assert history["panel_step_00001"].shape[-3:] == SHAPE


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"distill__generator_timesteps": [300, 100]}, r"generator_timesteps \[300, 100\].*give one timestep"),
        (HEARD, r"discriminator.kind convolutional.*set it to null"),
    ],
)
def test_what_latents_have_not_yet_is_refused_at_the_start(root: Path, changes: dict[str, Any], message: str) -> None:
    write(root / "given", 10)
    with pytest.raises(ValueError, match=message):
        fetch.main(load_config(params(root, **{**BASE, **changes})))


@pytest.mark.parametrize(
    ("lost", "message"),
    [
        ("vae/config.json", r"holds no vae/config.json; name another"),
        ("vae/diffusion_pytorch_model.safetensors", r"holds no vae/diffusion_pytorch_model.safetensors"),
    ],
)
def test_a_lost_codec_is_named(root: Path, lost: str, message: str) -> None:
    write(root / "given", 10)
    (root / "given" / lost).unlink()
    with pytest.raises(ValueError, match=message):
        fetch.main(load_config(params(root, **BASE)))


def test_a_folder_of_the_stage_teacher_is_taken_again(root: Path) -> None:
    original = write(root / "stock", None)
    Teacher(original.unet, dict(original.scheduler.config), original.vqvae).save(root / "given")
    config = load_config(params(root, **{**BASE, "dataset__num_classes": None}))
    fetch.main(config)
    folder = root / "data" / config.system / "weights" / "teacher"
    found, wanted = Teacher.load(folder).autoencoder.state_dict(), original.vqvae.state_dict()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    files = load_json(folder / "manifest.json")["files"]
    assert {"codec/config.json", "codec/diffusion_pytorch_model.safetensors"} < files.keys()


def test_the_params_may_say_the_scale(root: Path) -> None:
    original = write(root / "given", None)
    config = load_config(params(root, **{**BASE, "dataset__num_classes": None, "teacher__latent_scale": 0.25}))
    for stage in (fetch, teacher):
        stage.main(config)
    z = torch.randn(2, *LATENT)
    with torch.no_grad():
        found = teacher_of(root, config).codec(SHAPE).decode(z)
        torch.testing.assert_close(found, decoded(original, z * SCALE / 0.25))


def test_the_scale_of_no_codec_is_refused(root: Path) -> None:
    with pytest.raises(ValueError, match=r"teacher.latent_scale 0.25: the teacher makes images"):
        teacher.described_codec(root, 0.25)
    with pytest.raises(ValueError, match=r"latent_scale 0.25 is of a codec that is brought"):
        load_config(params(root, teacher__source="train", teacher__latent_scale=0.25))


def test_the_hashes_of_both_weights_are_kept_and_held(root: Path) -> None:
    original, config = distilled(root, None)
    folder = root / "models" / config.system / "teacher"
    provenance, name = load_json(folder / "provenance.json"), "diffusion_pytorch_model.safetensors"
    assert provenance["sha256"] == file_sha256(folder / name)
    assert provenance["codec_sha256"] == file_sha256(folder / "codec" / name)
    shutil.copytree(folder, root / "again")
    original.vqvae.register_parameter("more", torch.nn.Parameter(torch.zeros(1)))
    original.vqvae.save_pretrained(root / "again" / "codec")
    with pytest.raises(ValueError, match=rf"codec/{name}: sha256 \w+, but provenance.json says \w+;"):
        fetch.main(load_config(params(root, **{**BASE, "dataset__num_classes": None, "teacher__source": "again"})))


def test_a_generator_that_would_draw_another_shape_is_not_put_in_place(root: Path) -> None:
    _, config = distilled(root, None)
    file = root / "models" / config.system / "teacher" / "config.json"
    save_json(file, {**load_json(file), "sample_size": 16})
    with pytest.raises(ValueError, match=r"draws images of \[1, 64, 64\], but dataset.image_shape needs \[1, 32, 32\]"):
        distill.main(config)
    assert not (root / "models" / config.system / "generator").exists()
