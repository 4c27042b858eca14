"""Pictures are turned upright, and no other word of their metadata matters."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from dmd.fetch.image_files import read_images


def corners() -> Image.Image:
    """Four colours, one a quarter: every turn gives another picture."""
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[:8, 8:], pixels[8:, :8], pixels[8:, 8:] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    return Image.fromarray(pixels)


def exif(*entries: tuple[int, int, bytes]) -> bytes:
    """A block of metadata by Exif 2.32, 4.6.2: little-endian, each entry one value of four bytes or an offset to it."""
    ends = 8 + 2 + 12 * len(entries) + 4
    body, beyond = b"", b""
    for tag, kind, value in entries:
        place = value if len(value) <= 4 else (ends + len(beyond)).to_bytes(4, "little")
        beyond += value if len(value) > 4 else b""
        body += (
            tag.to_bytes(2, "little") + kind.to_bytes(2, "little") + (1).to_bytes(4, "little") + place.ljust(4, b"\0")
        )
    head = b"II*\0" + (8).to_bytes(4, "little") + len(entries).to_bytes(2, "little")
    return b"Exif\0\0" + head + body + bytes(4) + beyond


SHORT, RATIONAL, BYTE = 3, 5, 1
ORIENTATION, DESCRIPTION, WIDTH = 0x0112, 0x010E, 0x0100
ODD = {
    "a description as a rational": (DESCRIPTION, RATIONAL, bytes([1, 0, 0, 0, 2, 0, 0, 0])),
    "a width as a byte": (WIDTH, BYTE, b"\x10"),
    "a rational by zero": (DESCRIPTION, RATIONAL, bytes([1, 0, 0, 0, 0, 0, 0, 0])),
}


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_pictures_are_turned_as_pillow_turns_them(tmp_path: Path, turn: int, suffix: str) -> None:
    path = tmp_path / f"turned.{suffix}"
    corners().save(path, exif=exif((ORIENTATION, SHORT, bytes([turn, 0]))))
    with Image.open(path) as opened:
        wanted = np.asarray(ImageOps.exif_transpose(opened).convert("RGB"))
    assert np.array_equal(read_images([path], (3, 16, 16))[0].permute(1, 2, 0), wanted)


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_other_metadata_may_be_as_odd_as_they_like(tmp_path: Path, odd: tuple[int, int, bytes], suffix: str) -> None:
    plain, path = tmp_path / f"plain.{suffix}", tmp_path / f"odd.{suffix}"
    corners().save(plain, exif=exif((ORIENTATION, SHORT, b"\x06\0")))
    corners().save(path, exif=exif(odd, (ORIENTATION, SHORT, b"\x06\0")))
    assert torch.equal(read_images([path], (3, 16, 16)), read_images([plain], (3, 16, 16)))


def test_broken_metadata_say_nothing_and_other_readers_errors_name_the_file(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    corners().save(path, exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff")
    assert torch.equal(read_images([path], (3, 16, 16))[0].permute(1, 2, 0), torch.from_numpy(np.array(corners())))
    corners().save(path, icc_profile=bytes(3_000_000))  # Pillow raises a bare ValueError while it opens it
    with pytest.raises(ValueError, match=rf"^{path}: cannot be read as an image: .*; replace or remove it$"):
        read_images([path], (3, 16, 16))
