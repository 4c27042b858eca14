"""Pairs on disk: each is a function of its index, the manifest tells the truth, a kill loses nothing."""

from functools import partial
from pathlib import Path

import pandas as pd
import pytest
import torch

from dmd.datasets.pairs import PairStore, shard_name, shard_rows, write_shards
from dmd.diffusion.denoiser import Denoiser
from dmd.diffusion.rng import Stream, sample_noise
from dmd.diffusion.sampler import sample
from dmd.diffusion.schedule import NoiseSchedule
from dmd.pairs.recipe import PairRecipe, make_pairs
from dmd.runtime.files import file_sha256, load_tensors
from dmd.teacher.network import build_unet

SCHEDULER = {
    "num_train_timesteps": 100,
    "beta_schedule": "linear",
    "beta_start": 1e-3,
    "beta_end": 0.1,
    "prediction_type": "epsilon",
    "clip_sample": False,
}
RECIPE = PairRecipe(3, (1, 8, 8), 4, 1.0, SCHEDULER, "ddim", 4, "leading")


@pytest.fixture(scope="module")
def denoiser() -> Denoiser:
    torch.manual_seed(0)
    schedule = NoiseSchedule.from_betas(torch.linspace(1e-3, 0.1, 100, dtype=torch.float64))
    return Denoiser(build_unet((1, 8, 8), 5, (4, 8), 1, (), 2), schedule, "epsilon").eval()


def write_pairs(denoiser: Denoiser, out: Path, shard_size: int) -> PairStore:
    out.mkdir()
    write_shards(
        out,
        shard_rows(10, shard_size),
        partial(make_pairs, denoiser, RECIPE),
        RECIPE.columns | {"teacher_sha256": "teacher-hash"},
    )
    return PairStore(out)


def test_rows_are_cut_without_gap_or_overlap() -> None:
    assert shard_rows(10, 4) == [range(0, 4), range(4, 8), range(8, 10)]
    assert shard_rows(4, 4) == [range(0, 4)]


def test_a_pair_is_the_ode_solution_of_its_own_noise_and_label(denoiser: Denoiser) -> None:
    pairs = make_pairs(denoiser, RECIPE, range(6, 8))
    z = sample_noise(3, [6, 7], (1, 8, 8), Stream.PAIRS)
    assert torch.equal(pairs["z"], z)
    assert pairs["label"].tolist() == [2, 3]
    assert pairs["index"].tolist() == [6, 7]
    torch.testing.assert_close(pairs["x0"], sample(denoiser, z, torch.tensor([2, 3]), SCHEDULER, "ddim", 4, "leading"))


def test_reading_gives_the_asked_rows_in_the_asked_order(denoiser: Denoiser, tmp_path: Path) -> None:
    store = write_pairs(denoiser, tmp_path / "out", 4)
    assert len(store) == 10
    assert store.image_shape == (1, 8, 8)
    rows = store.read([9, 0, 4, 4])
    assert rows["index"].tolist() == [9, 0, 4, 4]
    whole = load_tensors(tmp_path / "out" / shard_name(2))
    assert torch.equal(rows["x0"][0], whole["x0"][1])


def test_the_manifest_says_what_each_shard_is(denoiser: Denoiser, tmp_path: Path) -> None:
    write_pairs(denoiser, tmp_path / "out", 4)
    manifest = pd.read_csv(tmp_path / "out" / "manifest.csv")
    assert manifest[["first", "last"]].to_numpy().tolist() == [[0, 3], [4, 7], [8, 9]]
    assert manifest["sha256"].tolist() == [file_sha256(tmp_path / "out" / name) for name in manifest["shard"]]
    settings = manifest[["seed", "solver", "num_steps", "nfe", "guidance_scale", "teacher_sha256"]].iloc[0]
    assert settings.tolist() == [3, "ddim", 4, 4, 1.0, "teacher-hash"]


def test_an_unconditional_pair_has_label_minus_one(denoiser: Denoiser) -> None:
    torch.manual_seed(0)
    plain = Denoiser(build_unet((1, 8, 8), None, (4, 8), 1, (), 2), denoiser.schedule, "epsilon").eval()
    recipe = PairRecipe(3, (1, 8, 8), None, 1.0, SCHEDULER, "ddim", 2, "leading")
    assert make_pairs(plain, recipe, range(3))["label"].tolist() == [-1, -1, -1]


@pytest.mark.parametrize("harm", ["flip", "truncate", "remove", "swap"])
def test_a_harmed_shard_is_noticed(denoiser: Denoiser, tmp_path: Path, harm: str) -> None:
    write_pairs(denoiser, tmp_path / "out", 5)
    path, other = tmp_path / "out" / shard_name(0), tmp_path / "out" / shard_name(1)
    data = bytearray(path.read_bytes())
    if harm == "flip":
        data[-5] ^= 1
        path.write_bytes(data)
    elif harm == "truncate":
        path.write_bytes(data[:-8])
    elif harm == "remove":
        path.unlink()
    else:
        path.write_bytes(other.read_bytes())
        other.write_bytes(data)
    with pytest.raises(ValueError, match=r"shard-0000\d.* is missing or changed since the manifest was written"):
        PairStore(tmp_path / "out")


def test_shards_that_leave_out_a_row_are_refused(denoiser: Denoiser, tmp_path: Path) -> None:
    write_pairs(denoiser, tmp_path / "out", 4)
    manifest = pd.read_csv(tmp_path / "out" / "manifest.csv")
    manifest.drop(1).to_csv(tmp_path / "out" / "manifest.csv", index=False)
    with pytest.raises(ValueError, match=r"shard-00002.* is missing or changed since the manifest was written"):
        PairStore(tmp_path / "out")


def test_an_image_that_is_not_finite_is_not_written(denoiser: Denoiser, tmp_path: Path) -> None:
    broken = make_pairs(denoiser, RECIPE, range(4, 8))
    broken["x0"][2, 0, 0, 0] = torch.nan
    with pytest.raises(ValueError, match=r"shard-00001.*row 6 is not finite.*teacher's weights"):
        write_shards(
            tmp_path,
            shard_rows(8, 4),
            lambda rows: make_pairs(denoiser, RECIPE, rows) if rows.start == 0 else broken,
            {},
        )
    assert not (tmp_path / "manifest.csv").exists()


def test_pairs_of_other_rows_are_not_written(denoiser: Denoiser, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"shard-00001.*not the rows 4 … 7"):
        write_shards(tmp_path, shard_rows(8, 4), lambda _: make_pairs(denoiser, RECIPE, range(4)), {})
    assert not (tmp_path / "manifest.csv").exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [("", "is no table"), ("shard,first,last,sha256\n", "has no rows"), ("a,b\n1,2\n", "has no column shard, first")],
)
def test_a_manifest_of_another_shape_is_refused(content: str, said: str, tmp_path: Path) -> None:
    folder = tmp_path / "data" / "mnist-small" / "pairs"
    folder.mkdir(parents=True)
    (folder / "manifest.csv").write_text(content)
    with pytest.raises(ValueError, match=rf"manifest\.csv {said}.*; run the stage `pairs` again"):
        PairStore(folder)
