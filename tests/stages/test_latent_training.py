"""A system whose autoencoder and network of latents are trained here: `pipelines/mnist-latent` with tiny numbers."""

import copy
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from diffusers import AutoencoderKL, DiffusionPipeline, DiTPipeline, DiTTransformer2DModel

from dmd.datasets.registry import load_dataset, to_images
from dmd.models.codec import load_codec
from dmd.models.pipeline import load_generator
from dmd.models.teacher import Teacher
from dmd.params.config import Config, ConfigError, load_config
from dmd.runtime.files import file_sha256, folder_sha256, load_json, load_tensors
from dmd.training.checkpoint import TrainingState
from stages import distill, evaluate, pairs, report, teacher
from tests.survival.victims import make_images

ROOT = Path(__file__).resolve().parents[2]
VALUES = yaml.safe_load((ROOT / "pipelines/mnist-latent/params.yaml").read_text(encoding="utf-8"))
LATENT, SYSTEM = (2, 8, 8), "mnist-latent"
HEARD = {"distill__discriminator__kind": "convolutional", "distill__discriminator__weight": 0.06}
SHORT = {"steps": 4, "batch_size": 4, "warmup_steps": 1, "checkpoint_steps": 2}
TINY: dict[str, Any] = {
    "guidance_scale": 1.0,
    "teacher.source": "train",
    "teacher.codec.block_out_channels": [4, 4, 4],
    "teacher.codec.latent_channels": LATENT[0],
    "teacher.codec.norm_num_groups": 2,
    **{f"teacher.codec.training.{key}": value for key, value in SHORT.items()},
    "teacher.backbone": {
        "kind": "dit",
        "num_layers": 1,
        "num_attention_heads": 2,
        "attention_head_dim": 4,
        "patch_size": 2,
    },
    **{f"teacher.training.{key}": value for key, value in SHORT.items()},
    "pairs.count": 4,
    "pairs.batch_size": 4,
    "pairs.num_steps": 2,
    "distill.steps": 2,
    "distill.batch_size": 2,
    "distill.pairs_batch_size": 2,
    "distill.history_epochs": 1,
    "distill.matching.guidance_scale": None,
    "evaluate.num_samples": 24,
    "evaluate.num_sets": 2,
    "evaluate.batch_size": 12,
    "evaluate.num_steps": 2,
}


def params(folder: Path, **changes: Any) -> Path:
    """The system's params with these changes, keys with dots written as `__`."""
    values = copy.deepcopy(VALUES)
    for key, value in (TINY | {name.replace("__", "."): value for name, value in changes.items()}).items():
        *parents, last = key.split(".")
        place = values
        for parent in parents:
            place = place[parent]
        place[last] = value
    (folder / "params.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    return folder / "params.yaml"


def system(folder: Path) -> Config:
    """A root with 64 images in MNIST's format and nothing made of them yet."""
    make_images(folder)
    shutil.move(folder / "data" / "mnist-small", folder / "data" / SYSTEM)
    data = folder / "data" / SYSTEM
    for name in ("images-idx3", "labels-idx1"):
        shutil.copy(data / "dataset" / f"train-{name}-ubyte", data / "dataset" / f"t10k-{name}-ubyte")
    (data / "weights" / "perceptual").mkdir(parents=True)
    shutil.copytree(ROOT / "assets" / "lenet", data / "weights" / "features")
    return load_config(params(folder))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Config]:
    """A root after the stages teacher, pairs and distill."""
    root = tmp_path_factory.mktemp("latent")
    config = system(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        for stage in (teacher, pairs, distill):
            stage.main(config)
    return root, config


def test_the_codec_has_the_scale_of_the_training_images(trained: tuple[Path, Config]) -> None:
    root, config = trained
    folder = root / "models" / SYSTEM / "teacher"
    given = Teacher.load(folder)
    assert isinstance(given.autoencoder, AutoencoderKL)
    assert isinstance(given.backbone, DiTTransformer2DModel)
    codec = given.codec(config.dataset.image_shape)
    assert codec.latent_shape == LATENT
    pixels, _ = load_dataset("mnist", root / "data" / SYSTEM / "dataset", "train")
    with torch.no_grad():
        assert codec.encode(to_images(pixels)).std(correction=0) == pytest.approx(1, abs=1e-4)
    weights, provenance = "diffusion_pytorch_model.safetensors", load_json(folder / "provenance.json")
    assert provenance["sha256"] == file_sha256(folder / weights)
    assert provenance["codec_sha256"] == file_sha256(folder / "codec" / weights)
    facts = load_json(folder / "training.json")
    assert facts["steps"] == facts["codec"]["steps"] == 4


def test_the_generator_is_a_stock_pipeline_of_its_images(trained: tuple[Path, Config]) -> None:
    root, config = trained
    folder, labels = root / "models" / SYSTEM / "generator", [3, 1, 4]
    pipeline = DiffusionPipeline.from_pretrained(folder)
    assert type(pipeline) is DiTPipeline
    pipeline.set_progress_bar_config(disable=True)
    seed = torch.Generator().manual_seed(0)
    images = pipeline(labels, guidance_scale=1.0, generator=seed, num_inference_steps=1, output_type="np").images
    z = torch.randn(3, *LATENT, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        codec = load_codec(folder.with_name("teacher"), config.dataset.image_shape)
        own = codec.decode(load_generator(folder)(z, torch.tensor(labels)))
    shown = torch.as_tensor(images).permute(0, 3, 1, 2)[..., 2:-2, 2:-2]
    torch.testing.assert_close(shown, (own / 2 + 0.5).clamp(0, 1), rtol=0, atol=1e-5)


def test_the_first_matching_gradient_is_exactly_zero(
    trained: tuple[Path, Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, config = trained
    monkeypatch.chdir(root)
    distiller = distill.prepare(config).distiller
    batch = distiller.batches.draw(0)
    x = distiller.student.generator(batch["z"], batch["labels"]).detach()
    assert x.shape[1:] == LATENT
    assert distiller.image_terms(x, batch)["distribution_matching"][1].abs().max() == 0
    distiller.mu_real.load_state_dict({name: v + 0.01 for name, v in distiller.mu_real.state_dict().items()})
    assert distiller.image_terms(x, batch)["distribution_matching"][1].abs().max() > 0


def test_decoded_images_are_scored_and_shown(trained: tuple[Path, Config], monkeypatch: pytest.MonkeyPatch) -> None:
    root, config = trained
    monkeypatch.chdir(root)
    for stage in (evaluate, report):
        stage.main(config)
    samples = load_tensors(root / "data" / SYSTEM / "evaluation" / "samples.safetensors")
    assert {images.shape[1:] for name, images in samples.items() if images.ndim == 4 and name != "z"} == {
        config.dataset.image_shape
    }
    found = load_json(root / "metrics" / SYSTEM / "metrics.json")
    assert found["run"]["pipeline"] == "DiTPipeline"
    assert found["student"]["fd_lenet"] > 0 < found["teacher"]["fd_lenet"]
    assert "DiTPipeline.from_pretrained" in (root / "models" / SYSTEM / "card" / "README.md").read_text("utf-8")


class Killed(Exception):
    """Stands for a kill of the process."""


@pytest.mark.parametrize("checkpoint", [1, 2, 3], ids=["in the autoencoder", "after it", "in the network"])
def test_a_training_that_was_cut_off_ends_with_the_same_bits(
    checkpoint: int, trained: tuple[Path, Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, save, left = system(tmp_path), TrainingState.save, [checkpoint]
    monkeypatch.chdir(tmp_path)

    def killed(self: TrainingState, *args: Any) -> None:
        save(self, *args)
        left[0] -= 1
        if left[0] == 0:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(TrainingState, "save", killed)
        with pytest.raises(Killed):
            teacher.main(config)
    teacher.main(config)
    whole, found = (folder / "models" / SYSTEM / "teacher" for folder in (trained[0], tmp_path))
    assert folder_sha256(found) == folder_sha256(whole)
    assert not list((tmp_path / ".work").glob("teacher/*/step-*"))


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no codec": ({"teacher__codec": None}, r"kind `dit` is a network of latents: add the section codec"),
    "no classes": ({"dataset__num_classes": None}, r"kind `dit` is conditional; set dataset.num_classes"),
    "a network of pixels": (
        {"teacher__backbone": {"kind": "teapearce", "width": 8}},
        r"kind `teapearce` is a network of pixels; take dit or unet2d, or remove codec",
    ),
    "a U-Net with classes": (
        {
            "teacher__backbone": {
                "kind": "unet2d",
                "block_out_channels": [8],
                "layers_per_block": 1,
                "attention_resolutions": [],
                "norm_num_groups": 4,
            }
        },
        r"no stock pipeline draws dataset.num_classes 10 from latents by it; take dit",
    ),
    "noise levels": (
        {"teacher__schedule": {"prediction_type": "edm"}},
        r"kind `dit` has a table of times, and cannot be told the noise levels .* take unet2d",
    ),
    "mirrors": ({"teacher__training__horizontal_flip": True}, r"horizontal_flip true with codec: .* set it to false"),
    "no training": ({"teacher__codec__training": None}, r"needs the section `codec.training`"),
    "a scale": ({"teacher__latent_scale": 0.2}, r"latent_scale 0.2 is of a codec that is brought, .* set it to null"),
    "groups": ({"teacher__codec__norm_num_groups": 3}, r"teacher.codec: norm_num_groups 3 does not divide 4 channels"),
    "several steps": ({"distill__generator_timesteps": [500, 200]}, r"generator_timesteps \[500, 200\].*one timestep"),
    "a discriminator": (HEARD, r"kind convolutional .* set it to null"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_is_refused_in_one_line(case: str, tmp_path: Path) -> None:
    changes, message = WRONG[case]
    with pytest.raises(ConfigError, match=message) as error:
        load_config(params(tmp_path, **changes))
    assert "\n" not in str(error.value)


def test_a_network_without_classes_is_saved_as_a_stock_pipeline_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system(tmp_path)
    monkeypatch.chdir(tmp_path)
    unet = {"kind": "unet2d", "block_out_channels": [4, 4], "layers_per_block": 1}
    unet |= {"attention_resolutions": [], "norm_num_groups": 2}
    config = load_config(
        params(tmp_path, teacher__backbone=unet, dataset__num_classes=None, teacher__source="random", distill__steps=1)
    )
    for stage in (teacher, pairs, distill):
        stage.main(config)
    pipeline = DiffusionPipeline.from_pretrained(tmp_path / "models" / SYSTEM / "generator")
    assert type(pipeline).__name__ == "LDMPipeline"
    assert pipeline.vqvae.config.scaling_factor == 1
