"""The celeba system from fetch to report, on real faces: the hundred that scikit-image ships, at a tiny setting."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from PIL import Image

from dmd.features.lenet import LeNet
from dmd.fetch import sources
from dmd.fetch.downloads import DownloadError, downloads_folder, obtain
from dmd.params.config import Config, load_config
from dmd.runtime.files import file_sha256, load_json, load_tensors, save_json
from stages import distill, evaluate, fetch, pairs, report, teacher

ROOT = Path(__file__).resolve().parents[2]
CHANGES = {
    "dataset": {"name": "lfw-faces"},
    "pairs": {"count": 12, "shard_size": 6, "batch_size": 6, "num_steps": 2},
    "distill": {"steps": 3, "batch_size": 4, "pairs_batch_size": 4, "history_epochs": 3, "checkpoint_steps": 2}
    | {"health_steps": 2, "perceptual": {"name": "pixel", "resolution": 32}},
    "evaluate": {"features": "lenet", "num_samples": 24, "num_sets": 2, "batch_size": 12, "num_steps": 2},
}
TRAINING = {"steps": 4, "batch_size": 4, "warmup_steps": 1, "checkpoint_steps": 2}


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """The params of pipelines/celeba with tiny numbers, in a root of its own, after all six stages."""
    downloads = (ROOT / downloads_folder()).absolute()
    faces = sources.lfw_faces()
    try:
        obtain(faces.originals, faces.mirrors, downloads, 30.0)
    except DownloadError as error:
        pytest.skip(f"no faces: {error}")
    root = tmp_path_factory.mktemp("faces")
    params = yaml.safe_load((ROOT / "pipelines/celeba/params.yaml").read_text(encoding="utf-8"))
    for section, values in CHANGES.items():
        params[section].update(values)
    params["teacher"]["training"].update(TRAINING)
    (root / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    torch.manual_seed(0)
    LeNet(in_channels=3, image_size=32).save_pretrained(root / "assets" / "lenet")  # any fixed net measures
    weights = root / "assets" / "lenet" / "diffusion_pytorch_model.safetensors"
    save_json(weights.with_name("provenance.json"), {"sha256": file_sha256(weights)})
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setenv("DMD_DOWNLOADS", str(downloads))
        patch.setenv("DMD_WORK", str(root / ".work"))
        config = load_config(Path("params.yaml"))
        for stage in (fetch, teacher, pairs, distill, evaluate, report):
            stage.main(config)
    return config.model_copy(update={"root": str(root)})


def test_the_dataset_is_eighty_faces_and_twenty_held_out(config: Config) -> None:
    folder = Path(config.root) / "data/celeba/dataset"
    shapes = {split: load_tensors(folder / f"{split}.safetensors")["pixels"].shape for split in ("train", "test")}
    assert shapes == {"train": (80, 3, 32, 32), "test": (20, 3, 32, 32)}
    pixels = load_tensors(folder / "train.safetensors")["pixels"]
    assert torch.equal(pixels[:, 0], pixels[:, 2])
    assert pixels.float().std() > 30


def test_the_teacher_is_the_celeba_network_trained_here(config: Config) -> None:
    folder = Path(config.root) / "models/celeba/teacher"
    assert load_json(folder / "config.json")["_class_name"] == "CelebAUNet"
    assert load_json(folder / "provenance.json")["source"] == "train"
    tensors = load_tensors(folder / "diffusion_pytorch_model.safetensors")
    assert sum(tensor.numel() for tensor in tensors.values()) == 426_691


def test_the_first_matching_loss_is_zero_and_the_later_are_not(config: Config) -> None:
    losses = pd.read_csv(Path(config.root) / "metrics/celeba/losses.csv")
    assert losses["distribution_matching"].iloc[0] == 0
    assert losses["distribution_matching"].iloc[1:].gt(0).all()


def test_scores_and_pictures_are_there_without_classes(config: Config) -> None:
    folder = Path(config.root) / "metrics/celeba"
    scores = json.loads((folder / "metrics.json").read_text())
    assert scores["student"]["nfe"] == 1
    assert scores["teacher"]["nfe"] == 2
    assert scores["student"]["fd_lenet"] > 0
    assert "class_accuracy" not in scores["student"]
    samples = load_tensors(Path(config.root) / "data/celeba/evaluation/samples.safetensors")
    for name, model in {"teacher": "teacher", "before": "student_before", "student": "student"}.items():
        with Image.open(folder / f"samples_{name}.png") as picture:
            corner = np.asarray(picture)[:64:2, :64:2, :3]  # each pixel is two wide
        expected = (samples[model][0].clamp(-1, 1) + 1) * 127.5
        np.testing.assert_allclose(corner, expected.permute(1, 2, 0).numpy(), rtol=0, atol=0.51)
