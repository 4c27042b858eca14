"""The curve of a training: each snapshot scored as a set of images of its own, in the order of the updates."""

from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import Tensor

from dmd.evaluate.noises import Noises
from dmd.evaluate.setup import Setup
from dmd.evaluate.snapshots import snapshot_table, write_curve
from dmd.evaluate.summaries import summarise_pixels
from dmd.features.lenet import LeNet
from dmd.models.codec import Codec
from dmd.runtime.files import save_tensors

CPU = torch.device("cpu")
COUNT = 60


def pixels(seed: int) -> Tensor:
    """Noise as bytes, [COUNT, 1, 28, 28], the darker the larger the seed."""
    drawn = torch.rand(COUNT, 1, 28, 28, generator=torch.Generator().manual_seed(seed))
    return (255 * drawn / (1 + seed)).to(torch.uint8)


@pytest.fixture(scope="module")
def setup() -> Setup:
    torch.manual_seed(0)
    net = LeNet(block_out_channels=(2, 3), feature_dim=4).eval()
    real = pixels(0)
    train = summarise_pixels(net, real, None, 16, CPU, max_kept=COUNT)
    noises = Noises(seed=3, count=COUNT, shape=(1, 28, 28), num_classes=10, device=CPU)
    return Setup(net, "lenet", real, train, noises, 16, 0, Codec((1, 28, 28)))


def features(setup: Setup, images: Tensor) -> Tensor:
    with torch.no_grad():
        return setup.net(images.float() / 127.5 - 1)[0].double()


def test_each_row_is_the_distance_of_its_own_images(setup: Setup) -> None:
    table = snapshot_table(setup, {f"step_{step:05d}": pixels(seed) for step, seed in ((40, 0), (0, 3), (20, 1))})
    assert table["step"].tolist() == [0, 20, 40]
    assert table["num_samples"].tolist() == [COUNT] * 3
    real = features(setup, pixels(0))
    for row, seed in zip(table.to_dict("records"), (3, 1, 0), strict=True):
        drawn = features(setup, pixels(seed))
        shift = (drawn.mean(0) - real.mean(0)).square().sum()
        product = torch.linalg.eigvals(drawn.T.cov() @ real.T.cov()).real.clamp(min=0).sqrt().sum()
        expected = shift + drawn.T.cov().trace() + real.T.cov().trace() - 2 * product
        assert row["fd_lenet"] == pytest.approx(expected.item(), rel=1e-3, abs=1e-4)
    assert table["fd_lenet"].is_monotonic_decreasing


def test_rows_are_in_the_order_of_updates_whatever_the_length_of_their_names(setup: Setup) -> None:
    steps = (100_000, 20_000, 0)
    table = snapshot_table(setup, {f"step_{step:05d}": pixels(1) for step in steps})
    assert table["step"].tolist() == sorted(steps)


def test_a_training_without_snapshots_has_no_curve(setup: Setup, tmp_path: Path) -> None:
    out = tmp_path / "curve.csv"
    write_curve(out, setup, tmp_path / "snapshots.safetensors")
    assert not out.exists()
    save_tensors(tmp_path / "snapshots.safetensors", {"step_00010": pixels(1)})
    write_curve(out, setup, tmp_path / "snapshots.safetensors")
    assert pd.read_csv(out)["step"].tolist() == [10]
