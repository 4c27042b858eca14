"""MNIST's files read right, or not at all. The truth is torchvision's reader and published facts of the set."""

import numpy as np
import pytest
import torch
from torchvision.datasets.mnist import read_image_file, read_label_file

from dmd.datasets.mnist import load_mnist, read_idx
from dmd.datasets.registry import check_dataset, load_dataset, to_images
from dmd.fetch.downloads import downloads_folder, find, place
from dmd.fetch.sources import FASHION_MNIST_FILES, MNIST_FILES


def idx_bytes(array: np.ndarray) -> bytes:
    return b"\x00\x00\x08" + bytes([array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()


@pytest.fixture
def folder(tmp_path):
    random = np.random.default_rng(0)
    for prefix, count in (("train", 7), ("t10k", 5)):
        images = random.integers(0, 256, (count, 28, 28), np.uint8)
        (tmp_path / f"{prefix}-images-idx3-ubyte").write_bytes(idx_bytes(images))
        (tmp_path / f"{prefix}-labels-idx1-ubyte").write_bytes(idx_bytes(random.integers(0, 10, count, np.uint8)))
    return tmp_path


@pytest.mark.parametrize(("split", "prefix", "count"), [("train", "train", 7), ("test", "t10k", 5)])
def test_reads_what_torchvision_reads(folder, split, prefix, count):
    pixels, labels = load_mnist(folder, split)
    assert pixels.shape == (count, 1, 28, 28)
    assert pixels.dtype == torch.uint8
    assert torch.equal(pixels[:, 0], read_image_file(str(folder / f"{prefix}-images-idx3-ubyte")))
    assert labels.dtype == torch.int64
    assert torch.equal(labels, read_label_file(str(folder / f"{prefix}-labels-idx1-ubyte")))


IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (IMAGES, b"", "not an idx file"),
        (IMAGES, b"<!doctype html>", "not an idx file"),
        (IMAGES, b"\x1f\x8b\x08\x00packed", "not an idx file"),
        (IMAGES, b"\x00\x00\x08\x03\x00\x00", "not an idx file"),
        (IMAGES, b"\x00\x00\x0d\x01\x00\x00\x00\x00", "unsigned bytes"),
        (IMAGES, idx_bytes(np.zeros((7, 28, 28), np.uint8))[:-1], "5487 values"),
        (IMAGES, idx_bytes(np.zeros((7, 28, 28), np.uint8)) + b"x", "5489 values"),
        (IMAGES, idx_bytes(np.zeros((7, 27, 28), np.uint8)), "28 by 28"),
        (LABELS, idx_bytes(np.zeros(6, np.uint8)), "7 images"),
        (LABELS, idx_bytes(np.full(7, 10, np.uint8)), "label 10"),
        (LABELS, None, "run fetch"),
    ],
)
def test_bad_files_are_refused_by_name(folder, name, content, message):
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        load_mnist(folder, "train")
    assert name in str(caught.value)


def test_any_number_of_dimensions_is_read(tmp_path):
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 2, 2)
    (tmp_path / "file").write_bytes(idx_bytes(array))
    assert np.array_equal(read_idx(tmp_path / "file").numpy(), array)


def test_images_are_between_minus_one_and_one():
    pixels = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    images = to_images(pixels).double().flatten()
    assert images[0] == -1
    assert images[255] == 1
    assert images.numpy() == pytest.approx(np.linspace(-1, 1, 256), abs=1e-6)


def test_params_at_odds_with_the_dataset_are_refused():
    check_dataset("mnist", [1, 28, 28], 10)
    check_dataset("mnist", [1, 28, 28], None)
    with pytest.raises(ValueError, match=r"dataset.image_shape \[3, 28, 28\].*\[1, 28, 28\]"):
        check_dataset("mnist", [3, 28, 28], 10)
    with pytest.raises(ValueError, match=r"dataset.num_classes 9.*has 10"):
        check_dataset("mnist", [1, 28, 28], 9)


def test_the_real_files_are_the_real_mnist(tmp_path):
    """First labels and mean intensity as published; all canonical hashes hold, since `find` checks them."""
    if any(find(original, downloads_folder()) is None for original in MNIST_FILES):
        pytest.skip("MNIST is not in the folder of downloads")
    for original in MNIST_FILES:
        place(original, downloads_folder(), tmp_path / original.name)
    pixels, labels = load_mnist(tmp_path, "train")
    assert labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert torch.bincount(labels).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert pixels.double().mean().item() / 255 == pytest.approx(0.1307, abs=5e-5)
    pixels, labels = load_mnist(tmp_path, "test")
    assert labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert len(pixels) == 10_000


def test_the_real_files_are_the_real_fashion_mnist(tmp_path):
    """Xiao et al. 2017: 6,000 and 1,000 images a class; first labels and mean intensity as others publish them."""
    downloads = downloads_folder() / "fashion-mnist"
    if any(find(original, downloads) is None for original in FASHION_MNIST_FILES):
        pytest.skip("Fashion-MNIST is not in the folder of downloads")
    for original in FASHION_MNIST_FILES:
        place(original, downloads, tmp_path / original.name)
    pixels, labels = load_dataset("fashion_mnist", tmp_path, "train")
    assert labels[:10].tolist() == [9, 0, 0, 3, 0, 2, 7, 2, 5, 5]
    assert torch.bincount(labels).tolist() == [6000] * 10
    assert pixels.double().mean().item() / 255 == pytest.approx(0.2860, abs=5e-5)
    pixels, labels = load_dataset("fashion_mnist", tmp_path, "test")
    assert torch.bincount(labels).tolist() == [1000] * 10
