"""Chunks of pairs: made once, by whoever comes; whatever is broken is made again, and nothing else."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import Tensor

from dmd.datasets.pairs import PairStore, shard_name, shard_rows, write_shards
from dmd.diffusion.denoiser import Denoiser
from dmd.pairs.chunks import Chunks
from dmd.pairs.recipe import make_pairs
from dmd.runtime.files import load_json
from dmd.runtime.locks import take
from tests.datasets.test_pairs import RECIPE, denoiser  # noqa: F401  (fixture)

Compute = Callable[[range], dict[str, Tensor]]


def fake(rows: range) -> dict[str, Tensor]:
    index = torch.tensor(list(rows))
    images = index[:, None, None, None].float().expand(-1, 1, 2, 2)
    return {"z": images, "x0": images + 0.5, "label": index % 3, "index": index}


class Recorder:
    """Which batches were computed."""

    def __init__(self, compute: Compute = fake) -> None:
        self.made: list[range] = []
        self.compute = compute

    def __call__(self, rows: range) -> dict[str, Tensor]:
        self.made.append(rows)
        return self.compute(rows)


def assemble(chunks: Chunks, out: Path, count: int, shard_size: int, compute: Compute) -> dict[str, Tensor]:
    """What the stage does: verify, make, write, keep."""
    shards = shard_rows(count, shard_size)
    chunks.verify()
    chunks.make(count, compute)
    out.mkdir(parents=True, exist_ok=True)
    write_shards(out, shards, chunks.read, {})
    chunks.keep(out, [shard_name(number) for number in range(len(shards))], shards)
    return PairStore(out).read(range(count))


def test_every_batch_is_made_once_and_whole(tmp_path: Path) -> None:
    recorder = Recorder()
    chunks = Chunks(tmp_path, 4)
    chunks.make(10, recorder)
    chunks.make(10, recorder)
    assert recorder.made == [range(0, 4), range(4, 8), range(8, 12)]
    assert chunks.missing(12) == []
    assert chunks.missing(13) == [range(12, 16)]
    assert chunks.read(range(3, 9))["index"].tolist() == list(range(3, 9))


def test_neither_shard_size_nor_count_nor_workers_change_a_bit(
    denoiser: Denoiser,  # noqa: F811
    tmp_path: Path,
) -> None:
    compute = partial(make_pairs, denoiser, RECIPE)
    expected = assemble(Chunks(tmp_path, 4), tmp_path / "out", 10, 10, compute)
    for count, shard_size in ((10, 3), (10, 1), (7, 4), (19, 5)):
        name = f"{count}-{shard_size}"
        (tmp_path / name).mkdir()
        found = assemble(Chunks(tmp_path / name, 4), tmp_path / name / "out", count, shard_size, compute)
        for key, value in found.items():
            assert torch.equal(value[:10], expected[key][:count]), (key, name)
    # Two workers, the second of which came late and began in the middle.
    other = tmp_path / "workers"
    other.mkdir()
    Chunks(other, 4)._make_one(range(4, 8), compute, False)
    found = assemble(Chunks(other, 4), other / "out", 10, 3, compute)
    assert all(torch.equal(found[key], expected[key]) for key in expected)


@pytest.mark.parametrize("harm", ["flip", "truncate", "remove", "swap", "no note", "broken note"])
def test_a_harmed_piece_alone_is_made_again(tmp_path: Path, harm: str) -> None:
    Chunks(tmp_path, 4).make(16, fake)
    path, other = (tmp_path / f"rows-{first:09d}-{first + 4:09d}.safetensors" for first in (4, 8))
    content, made = bytearray(path.read_bytes()), [range(4, 8)]
    if harm == "flip":
        content[-3] ^= 16
        path.write_bytes(content)
    elif harm == "truncate":
        path.write_bytes(content[:-1])
    elif harm == "remove":
        path.unlink()
    elif harm == "swap":
        path.write_bytes(other.read_bytes())
        other.write_bytes(content)
        made = [range(4, 8), range(8, 12)]
    elif harm == "no note":
        path.with_suffix(".json").unlink()
    else:
        path.with_suffix(".json").write_text("{")
    recorder, chunks = Recorder(), Chunks(tmp_path, 4)
    found = assemble(chunks, tmp_path / "out", 16, 5, recorder)
    assert recorder.made == made
    assert torch.equal(found["x0"], fake(range(16))["x0"])


@pytest.mark.parametrize("shard_size", [3, 4, 10, 100])
def test_more_pairs_are_made_beside_those_that_are_kept(tmp_path: Path, shard_size: int) -> None:
    assemble(Chunks(tmp_path, 4), tmp_path / "out", 8, shard_size, fake)
    kept = {path.name for path in tmp_path.glob("*")} - {"out"}
    assert kept == {
        f"rows-{rows.start:09d}-{rows.stop:09d}.{end}"
        for rows in shard_rows(8, shard_size)
        for end in ("json", "safetensors")
    }
    recorder = Recorder()
    found = assemble(Chunks(tmp_path, 4), tmp_path / "more", 18, 6, recorder)
    assert recorder.made == [range(8, 12), range(12, 16), range(16, 20)]
    assert found["index"].tolist() == list(range(18))
    again = Recorder()
    fewer = assemble(Chunks(tmp_path, 4), tmp_path / "fewer", 5, 2, again)
    assert again.made == []
    assert fewer["index"].tolist() == list(range(5))


def test_kept_shards_take_no_room(tmp_path: Path) -> None:
    assemble(Chunks(tmp_path, 4), tmp_path / "out", 8, 8, fake)
    kept = tmp_path / "rows-000000000-000000008.safetensors"
    assert kept.samefile(tmp_path / "out" / shard_name(0))
    assert load_json(kept.with_suffix(".json"))["sha256"] == pd.read_csv(tmp_path / "out" / "manifest.csv").sha256[0]


def test_what_another_worker_has_claimed_is_left_to_it_and_made_here_once_it_is_gone(tmp_path: Path) -> None:
    chunks, order = Chunks(tmp_path, 4), []
    claim = take(tmp_path / "rows-000000000-000000004.claim")
    assert claim is not None

    def compute(rows: range) -> dict[str, Tensor]:
        order.append(rows)
        if rows == range(8, 12):
            claim.close()  # the other worker dies without a result
        return fake(rows)

    chunks.make(12, compute)
    assert order == [range(4, 8), range(8, 12), range(0, 4)]
    assert not list(tmp_path.glob("*.claim"))
