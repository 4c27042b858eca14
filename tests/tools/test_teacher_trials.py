"""Trials of a teacher's settings have rows of their own; what a training has so far is what its checkpoint holds."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch

from dmd.datasets.registry import load_dataset
from dmd.models.teacher import Teacher
from dmd.params.config import Config, load_config
from dmd.runtime.files import load_json
from dmd.teacher.trainer import TeacherTrainer
from stages.teacher import fresh
from tests.survival.victims import ROOT, SYSTEM, TRAINED, make_images, write_params
from tools.ship_so_far import place_average
from tools.teacher_trials import main

SMALL = {"teacher.training.steps": 4, "evaluate.num_samples": 20, "evaluate.batch_size": 10}
PARAMS = Path("params.yaml")


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """A root with images to train on, and the feature net."""
    make_images(tmp_path)
    data = tmp_path / "data" / SYSTEM
    for name in ("images-idx3", "labels-idx1"):
        shutil.copy(data / "dataset" / f"train-{name}-ubyte", data / "dataset" / f"t10k-{name}-ubyte")
    shutil.copytree(ROOT / "assets" / "lenet", data / "weights" / "features")
    write_params(tmp_path, TRAINED | SMALL)
    monkeypatch.chdir(tmp_path)
    return load_config(PARAMS)


def test_a_trial_has_a_row_with_the_settings_and_images_of_its_own(config: Config) -> None:
    axes = ["teacher.backbone.block_out_channels=[4, 8],[8, 8]"]
    main(PARAMS, Path("trials.csv"), 0.2, axes, samples=20)
    rows = pd.read_csv("trials.csv")
    assert list(rows["changes"]) == ["backbone.block_out_channels [4, 8]", "backbone.block_out_channels [8, 8]"]
    first, second = rows["parameters"]
    assert first == sum(weights.numel() for weights in fresh(config).backbone.parameters()) < second
    assert (rows["images_seen"] % TRAINED["teacher.training.batch_size"] == 0).all()
    assert (rows["fd_lenet"] > 0).all()
    main(PARAMS, Path("trials.csv"), 0.2, axes, samples=20)
    pd.testing.assert_frame_equal(pd.read_csv("trials.csv"), rows)


def test_the_last_checkpoint_has_what_the_training_ends_with(config: Config) -> None:
    assert config.teacher.training is not None
    pixels, labels = load_dataset(config.dataset.name, Path("data", SYSTEM, "dataset"), "train")
    trainer = TeacherTrainer(fresh(config).denoiser, pixels, labels, config.teacher.training, config.seed)
    trainer.run(Path("work"))
    assert place_average(config, Path("work/step-00000004"), Path("last")) == 4
    found = Teacher.load(Path("last")).backbone.state_dict()
    assert all(torch.equal(value, found[name]) for name, value in trainer.backbone.state_dict().items())
    assert place_average(config, Path("work/step-00000002"), Path("middle")) == 2
    middle = Teacher.load(Path("middle")).backbone.state_dict()
    assert any(not torch.equal(value, middle[name]) for name, value in found.items())
    assert load_json(Path("middle/training.json"))["steps"] == 2


def test_a_broken_checkpoint_is_named(config: Config) -> None:
    Path("work/step-00000002").mkdir(parents=True)
    with pytest.raises(ValueError, match="work/step-00000002 is no whole checkpoint"):
        place_average(config, Path("work/step-00000002"), Path("out"))
