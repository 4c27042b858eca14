"""Memory does not grow with the number of pairs."""

import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor

from dmd.datasets.pairs import PairStore, shard_rows, write_shards
from dmd.pairs.recipe import PairRecipe
from tests.survival.figures import keep
from tests.survival.victims import SYSTEM, Victims, make_system

SHARD = 10_000
RECIPE = PairRecipe(0, (1, 8, 8), 10, 1.5, {"num_train_timesteps": 1000}, "euler", 2, "trailing")


def synthetic(rows: range) -> dict[str, Tensor]:
    z = torch.randn(len(rows), 1, 8, 8, generator=torch.Generator().manual_seed(rows.start))
    index = torch.arange(rows.start, rows.stop)
    return {"z": z, "x0": z.tanh(), "label": index % 10, "index": index}


def peak(victims: Victims, folder: Path, count: int) -> int:
    """MiB that a distillation with so many pairs had at most."""
    make_system(folder, {"distill.steps": 20, "distill.pairs_batch_size": 32})
    pairs = folder / "data" / SYSTEM / "pairs"
    pairs.mkdir(parents=True)
    write_shards(pairs, shard_rows(count, SHARD), synthetic, {})
    assert len(PairStore(pairs)) == count
    victims.run("distill", folder)
    megabytes = int((folder / "peak").read_text())
    shutil.rmtree(folder)
    return megabytes


@pytest.mark.slow
def test_a_million_pairs_train_in_the_memory_of_ten_thousand(victims: Victims, tmp_path: Path) -> None:
    few, many = (peak(victims, tmp_path / str(count), count) for count in (10_000, 1_000_000))
    keep(memory={"pairs_10k_mb": few, "pairs_1m_mb": many})
    assert many <= 1.05 * few
