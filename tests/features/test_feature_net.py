"""The feature net: what it promises, what its loader refuses, and that the shipped one reads real digits."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from dmd.datasets.mnist import load_mnist
from dmd.datasets.registry import to_images
from dmd.evaluate.summaries import summarise_pixels
from dmd.features.feature_net import load_features
from dmd.features.lenet import LeNet
from dmd.runtime.files import file_sha256, load_json
from tools.train_feature_net import accuracy, augment, batches

ROOT = Path(__file__).parents[2]
ASSET = ROOT / "assets" / "lenet"
WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    LeNet(block_out_channels=(2, 3), feature_dim=4).save_pretrained(tmp_path / "net")
    return tmp_path / "net"


def mnist_folder() -> Path:
    """Where the four idx files lie, or skip."""
    for folder in (*sorted((ROOT / "data").glob("*/dataset")), ROOT / "downloads"):
        if (folder / "t10k-images-idx3-ubyte").is_file() and (folder / "t10k-labels-idx1-ubyte").is_file():
            return folder
    pytest.skip("MNIST is neither in data/*/dataset nor in downloads; run fetch")


def test_logits_are_linear_in_the_non_negative_features() -> None:
    net = LeNet().eval()
    features, logits = net(torch.rand(3, 1, 28, 28) * 2 - 1)
    assert features.shape == (3, 128)
    assert bool((features >= 0).all())
    linear = net.head[1]
    torch.testing.assert_close(logits, features @ linear.weight.T + linear.bias)


def test_saved_and_loaded_net_is_the_same_function(saved: Path) -> None:
    torch.manual_seed(0)
    net = LeNet(block_out_channels=(2, 3), feature_dim=4).eval()
    loaded = load_features(saved)
    images = torch.rand(5, 1, 28, 28) * 2 - 1
    for ours, theirs in zip(net(images), loaded(images), strict=True):
        torch.testing.assert_close(ours, theirs)
    assert not loaded.training
    assert not any(weights.requires_grad for weights in loaded.parameters())


def test_other_image_shapes_are_refused(saved: Path) -> None:
    net = load_features(saved)
    with pytest.raises(ValueError, match=r"takes images of shape \(1, 28, 28\), got \(3, 32, 32\)"):
        net(torch.zeros(2, 3, 32, 32))
    with pytest.raises(ValueError, match="image_size 30"):
        LeNet(image_size=30)


@pytest.mark.parametrize("name", ["config.json", WEIGHTS])
def test_missing_file_is_named(saved: Path, name: str) -> None:
    (saved / name).unlink()
    with pytest.raises(ValueError, match=name):
        load_features(saved)


def test_another_class_and_other_weights_are_refused(saved: Path, tmp_path: Path) -> None:
    config = load_json(saved / "config.json")
    other = shutil.copytree(saved, tmp_path / "other")
    (other / "config.json").write_text(json.dumps(config | {"_class_name": "UNet2DModel"}))
    with pytest.raises(ValueError, match="'UNet2DModel'"):
        load_features(other)
    (other / "config.json").write_text(json.dumps(config | {"feature_dim": 7}))
    with pytest.raises(ValueError, match="do not fit config"):
        load_features(other)


def test_augmentation_turns_shifts_and_scales_by_what_it_says() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.full((200, 1, 28, 28), -1.0)
    images[:, :, 10:18, 10:18] = 1.0
    still = augment(images, generator, degrees=0, pixels=0, scale=0)
    torch.testing.assert_close(still, images, atol=1e-5, rtol=0)
    moved = augment(images, generator, degrees=0, pixels=2, scale=0)
    mass = (moved + 1).sum(dim=(1, 2, 3))
    centres = ((moved + 1).sum(dim=(1, 2)) * torch.arange(28.0)).sum(1) / mass
    torch.testing.assert_close(mass, torch.full((200,), 128.0), rtol=1e-4, atol=0)
    assert 1.8 < (centres - 13.5).abs().max() <= 2.001
    area = (augment(images, generator, degrees=180, pixels=0, scale=0.1) + 1).sum(dim=(1, 2, 3)) / 128
    assert 0.78 < area.min() < 0.87
    assert 1.13 < area.max() < 1.24


def test_batches_cover_an_epoch_once() -> None:
    rows = list(batches(10, 3, 7, torch.Generator().manual_seed(0)))
    assert len(rows) == 7
    for epoch in (rows[:3], rows[3:6]):
        assert len(set(torch.cat(epoch).tolist())) == 9


def test_shipped_net_is_the_one_of_its_provenance() -> None:
    provenance = load_json(ASSET / "provenance.json")
    assert provenance["sha256"] == file_sha256(ASSET / WEIGHTS)
    assert provenance["test_accuracy"] >= 0.99
    assert (ASSET / WEIGHTS).stat().st_size < 1_000_000


def test_shipped_net_reads_the_test_split() -> None:
    pixels, labels = load_mnist(mnist_folder(), "test")
    net = load_features(ASSET)
    assert accuracy(net, to_images(pixels), labels) == pytest.approx(
        load_json(ASSET / "provenance.json")["test_accuracy"]
    )
    summary = summarise_pixels(net, pixels, labels, 1000, torch.device("cpu"))
    assert summary.class_accuracy >= 0.99
    features, logits = net(to_images(pixels[:100]))
    assert functional.cross_entropy(logits, labels[:100]) < 0.1
    torch.testing.assert_close(summary.features[:100].mean(0), features.mean(0), atol=1e-4, rtol=1e-4)
