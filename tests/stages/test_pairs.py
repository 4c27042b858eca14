"""Stage `pairs`: what a cut-off run has finished is not done again."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from dmd.backbones import build_unet
from dmd.config import Config
from dmd.teacher import Teacher
from stages import pairs
from tools.overrides import override

ROOT = Path(__file__).resolve().parents[2]
SMALL = {
    "dataset.image_shape": [1, 8, 8],
    "pairs.count": 10,
    "pairs.shard_size": 4,
    "pairs.batch_size": 4,
    "pairs.num_steps": 2,
}


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """The root's params at a tiny size, and an untrained teacher, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DMD_WORK", raising=False)
    config = override(ROOT / "params.yaml", SMALL)
    torch.manual_seed(0)
    scheduler = {**config.teacher.schedule.model_dump(), "clip_sample": False}
    Teacher(build_unet((1, 8, 8), 11, (4, 8), 1, (), 2), scheduler).save(
        tmp_path / "models" / config.system / "teacher"
    )
    return config


def manifest(config: Config) -> pd.DataFrame:
    return pd.read_csv(Path("data", config.system, "pairs", "manifest.csv"))


def test_a_cut_off_run_goes_on_with_the_missing_shards(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs.main(config)
    whole = manifest(config)
    made: list[range] = []
    original = pairs.make_pairs

    def recording(denoiser: Any, recipe: Any, rows: range, batch_size: int) -> dict[str, torch.Tensor]:
        made.append(rows)
        return original(denoiser, recipe, rows, batch_size)

    def cut_off(denoiser: Any, recipe: Any, rows: range, batch_size: int) -> dict[str, torch.Tensor]:
        if len(made) == 2:
            raise KeyboardInterrupt
        return recording(denoiser, recipe, rows, batch_size)

    monkeypatch.setattr(pairs, "make_pairs", cut_off)
    with pytest.raises(KeyboardInterrupt):
        pairs.main(config)
    assert made == [range(0, 4), range(4, 8)]
    monkeypatch.setattr(pairs, "make_pairs", recording)
    pairs.main(config)
    assert made == [range(0, 4), range(4, 8), range(8, 10)]
    pd.testing.assert_frame_equal(manifest(config), whole)
    assert not list(Path(".work").rglob("*.safetensors"))


def test_another_teacher_starts_anew(config: Config) -> None:
    pairs.main(config)
    first = manifest(config)
    torch.manual_seed(1)
    scheduler = {**config.teacher.schedule.model_dump(), "clip_sample": False}
    Teacher(build_unet((1, 8, 8), 11, (4, 8), 1, (), 2), scheduler).save(Path("models", config.system, "teacher"))
    pairs.main(config)
    second = manifest(config)
    assert (first["sha256"] != second["sha256"]).all()
    assert (first["teacher_sha256"] != second["teacher_sha256"]).all()
