"""Stage `pairs`: what a cut-off run has finished is not done again."""

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from diffusers import UNet2DModel

from dmd.commands.overrides import override
from dmd.datasets.pairs import PairStore
from dmd.models.teacher import Teacher
from dmd.pairs.recipe import make_pairs
from dmd.params.config import Config
from dmd.teacher.network import build_unet
from stages import pairs

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


def record(monkeypatch: pytest.MonkeyPatch, stop_after: int | None = None) -> list[range]:
    """Let the stage note which rows it makes, and be cut off after so many batches."""
    made: list[range] = []
    original = make_pairs

    def recording(denoiser: Any, recipe: Any, rows: range) -> dict[str, torch.Tensor]:
        if len(made) == stop_after:
            raise KeyboardInterrupt
        made.append(rows)
        return original(denoiser, recipe, rows)

    monkeypatch.setattr(pairs, "make_pairs", recording)
    return made


def test_a_cut_off_run_goes_on_with_the_missing_rows(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs.main(config)
    whole = manifest(config)
    shutil.rmtree(".work")
    made = record(monkeypatch, stop_after=2)
    with pytest.raises(KeyboardInterrupt):
        pairs.main(config)
    assert made == [range(0, 4), range(4, 8)]
    made = record(monkeypatch)
    pairs.main(config)
    assert made == [range(8, 12)]
    pd.testing.assert_frame_equal(manifest(config), whole)


def test_more_pairs_in_other_shards_are_those_of_before_and_new_ones(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs.main(config)
    before = PairStore(Path("data", config.system, "pairs")).read(range(10))
    # What DVC does before it runs a stage again.
    shutil.rmtree(Path("data", config.system, "pairs"))
    made = record(monkeypatch)
    pairs.main(override(ROOT / "params.yaml", {**SMALL, "pairs.count": 20, "pairs.shard_size": 7}))
    assert made == [range(12, 16), range(16, 20)]
    after = PairStore(Path("data", config.system, "pairs")).read(range(10))
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_a_worker_makes_rows_and_leaves_the_rest_to_the_stage(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DMD_WORKER", "1")
    pairs.main(config)
    assert not Path("data").exists()
    monkeypatch.delenv("DMD_WORKER")
    made = record(monkeypatch)
    pairs.main(config)
    assert made == []
    assert manifest(config)["last"].tolist() == [3, 7, 9]


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
    assert len(list(Path(".work", "pairs", config.system).iterdir())) == 1, "rows of one teacher are kept, not of all"


def test_the_teacher_is_compiled_where_the_params_say_so(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = []
    monkeypatch.setattr("stages.pairs.compile_network", lambda network, _, key: compiled.append((type(network), key)))
    pairs.main(config)
    assert compiled == []
    pairs.main(config.model_copy(update={"pairs": config.pairs.model_copy(update={"compile": True})}))
    assert compiled == [(UNet2DModel, "pairs.compile")]
