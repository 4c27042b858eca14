"""Datasets that are not what they should be: MNIST's files for the stage `teacher`, folders of images for `fetch`."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from tests.survival.victims import ROOT, SYSTEM, TRAINED, make_images, write_params

Harm = Callable[[Path], object]
IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
PICTURES: dict[str, object] = {
    "dataset.name": "image_folder",
    "dataset.folder": "pictures",
    "dataset.num_classes": None,
    "guidance_scale": 1.0,
    "distill.matching.guidance_scale": None,
}


def idx(kind: int, *sizes: int, value: int = 0) -> bytes:
    """A file in MNIST's format, with all values the same."""
    return np.array([kind, *sizes], ">u4").tobytes() + bytes([value]) * int(np.prod(sizes))


def png(width: int, height: int) -> bytes:
    """A grey picture of any size in a few bytes: what it says of itself is not what is in it."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(9))) + chunk(b"IEND", b"")


def write(name: str, content: bytes) -> Harm:
    """Put these bytes in place of a file."""
    return lambda folder: (folder / name).write_bytes(content)


def leave(number: int) -> Harm:
    """Keep only the first so many pictures."""
    return lambda folder: [path.unlink() for path in sorted(folder.iterdir())[number:]]


def split_unevenly(folder: Path) -> None:
    """Name splits, of which one has too few pictures."""
    for number, path in enumerate(sorted(folder.iterdir())):
        place = folder / ("test" if number < 5 else "train")
        place.mkdir(exist_ok=True)
        path.rename(place / path.name)


def cut_picture(folder: Path) -> None:
    """Keep the first half of a picture."""
    path = folder / "007.png"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


MNIST: dict[str, tuple[Harm, str]] = {
    "images of another size": (write(IMAGES, idx(0x803, 64, 27, 28)), IMAGES),
    "images in colour": (write(IMAGES, idx(0x804, 64, 3, 28, 28)), IMAGES),
    "one image fewer than labels": (write(IMAGES, idx(0x803, 63, 28, 28)), LABELS),
    "a label above nine": (write(LABELS, idx(0x801, 64, value=10)), LABELS),
    "images cut short": (write(IMAGES, idx(0x803, 64, 28, 28)[:-1]), IMAGES),
    "images with more behind": (write(IMAGES, idx(0x803, 64, 28, 28) + b"0"), IMAGES),
    "an empty file of images": (write(IMAGES, b""), IMAGES),
    "HTML for images": (write(IMAGES, b"<!DOCTYPE html><html>log in</html>"), IMAGES),
    "a size beyond any memory": (write(IMAGES, np.array([0x803, *3 * [2**32 - 1]], ">u4").tobytes()), IMAGES),
    "still compressed": (write(IMAGES, b"\x1f\x8b\x08\x00" + bytes(100)), IMAGES),
    "no labels": (lambda folder: (folder / LABELS).unlink(), LABELS),
    "an empty folder": (lambda folder: [path.unlink() for path in folder.iterdir()], IMAGES),
}

FOLDERS: dict[str, tuple[Harm, str]] = {
    "no pictures": (leave(0), "pictures: 0 images"),
    "too few pictures": (leave(90), "pictures: 18 images"),
    "too few in a named split": (split_unevenly, "pictures: 5 images"),
    "no folder": (lambda folder: folder.rename(folder.with_name("elsewhere")), "no such folder"),
    "a text named as a picture": (write("007.png", b"not a picture"), "007.png"),
    "an HTML page named as a picture": (write("007.png", b"<!DOCTYPE html><html>log in</html>"), "007.png"),
    "an empty file named as a picture": (write("007.png", b""), "007.png"),
    "a picture cut short": (cut_picture, "007.png"),
    "a picture of a thousand million pixels": (write("007.png", png(2**15, 2**15)), "007.png"),
    "a picture that holds less than it says": (write("007.png", png(64, 64)), "007.png"),
}


def make_mnist(root: Path) -> Path:
    """A system whose teacher is trained on 64 images in MNIST's format; the folder of these."""
    make_images(root)
    return root / "data" / SYSTEM / "dataset"


def make_pictures(root: Path) -> Path:
    """A system that fetches 120 small pictures from a folder, and nothing from elsewhere; the folder."""
    write_params(root, TRAINED | PICTURES | {"teacher.source": "random"})
    (root / "assets").symlink_to(ROOT / "assets")
    folder = root / "pictures"
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (120, 30, 40), dtype=np.uint8)
    for number, pixels in enumerate(noise):
        Image.fromarray(pixels).save(folder / f"{number:03d}.png")
    return folder
