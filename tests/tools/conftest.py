"""A small system whose teacher is trained here, for what tools do with trainings."""

import shutil
from pathlib import Path

import pytest

from dmd.params.config import Config, load_config
from tests.survival.victims import ROOT, SYSTEM, TRAINED, make_images, write_params

SMALL = {"teacher.training.steps": 4, "evaluate.num_samples": 20, "evaluate.batch_size": 10}


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
    return load_config(Path("params.yaml"))
