"""Pictures with odd metadata and broken bytes: each is read, or refused in one sentence with its path."""

import io
import random
import struct
import warnings
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dmd.fetch.image_files import read_images
from tests.survival.figures import keep

SHAPE = (3, 8, 8)
PIXELS = np.random.default_rng(0).integers(0, 256, (12, 9, 3), dtype=np.uint8)
FORMATS = ("PNG", "JPEG", "BMP", "WEBP")
CHUNKS = (b"tRNS", b"iCCP", b"zTXt", b"iTXt", b"tEXt", b"eXIf", b"gAMA", b"cHRM", b"pHYs", b"sRGB", b"PLTE", b"acTL")
CHUNKS += (b"IHDR", b"fcTL", b"IDAT")
TAGS = (0x0100, 0x0102, 0x010E, 0x011A, 0x011B, 0x0128, 0x0132, 0x02BC, 0x8769, 0x8825, 0x927C, 0xA002, 0xA005)
"""Of Exif 2.32, 4.6; without `Orientation`, so that the pixels must stay."""


def encode(name: str, exif: bytes = b"") -> bytes:
    out = io.BytesIO()
    Image.fromarray(PIXELS).save(out, name, **({"exif": exif} if exif else {}))
    return out.getvalue()


PACKED = (zlib.compress(bytes(10)), zlib.compress(bytes(3_000_000)))
PLAIN = {name: encode(name) for name in FORMATS}


def odd_exif(rng: random.Random) -> tuple[str, bytes]:
    """A sound picture whose metadata have entries of any type, number and place."""
    order = rng.choice("<>")
    entries = b"".join(
        struct.pack(order + "HHI", rng.choice(TAGS), rng.randrange(15), rng.choice((0, 1, 2, 3, 2**16, 2**32 - 1)))
        + rng.randbytes(4)
        for _ in range(rng.randrange(6))
    )
    number = rng.choice((len(entries) // 12, rng.randrange(2**16)))
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(order + "I", rng.choice((8, 8, 8, rng.randrange(2**32))))
    name = rng.choice(("PNG", "JPEG", "WEBP"))
    body = struct.pack(order + "H", number) + entries + rng.randbytes(rng.randrange(40))
    return name, encode(name, b"Exif\0\0" + head + body)


def odd_chunk(rng: random.Random) -> tuple[str, bytes]:
    """A PNG file with one more chunk, of any content and the right checksum, before, between or behind the others."""
    plain, kind = PLAIN["PNG"], rng.choice(CHUNKS)
    content = rng.randbytes(rng.randrange(40))
    if kind in (b"iCCP", b"zTXt") and rng.random() < 0.5:
        content = b"name\0\0" + rng.choice(PACKED)
    chunk = struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    place = rng.choice((8, plain.index(b"IDAT") - 4, len(plain) - 12))
    return "", plain[:place] + chunk + plain[place:]


def broken_bytes(rng: random.Random) -> tuple[str, bytes]:
    """A file of any format with bytes changed, cut out, put in, or without its end."""
    content = bytearray(PLAIN[rng.choice(FORMATS)])
    for _ in range(rng.randrange(1, 8)):
        place = rng.randrange(len(content)) if rng.random() < 0.5 else rng.randrange(min(64, len(content)))
        how = rng.randrange(3)
        content[place : place + (how != 2)] = b"" if how == 0 else rng.randbytes(1)
    return "", bytes(content[: rng.choice((len(content), len(content), rng.randrange(1, len(content))))])


KINDS: tuple[Callable[[random.Random], tuple[str, bytes]], ...] = (odd_exif, odd_chunk, broken_bytes)


def try_pictures(folder: Path, number: int) -> dict[str, int]:
    """Read so many pictures; how many were read and refused. Any other end, or other pixels, is an error."""
    path, ends = folder / "picture.png", Counter(read=0, refused=0)
    wanted = {}
    for name, content in PLAIN.items():
        path.write_bytes(content)
        wanted[name] = read_images([path], SHAPE)
    for seed in range(number):
        name, content = KINDS[seed % len(KINDS)](random.Random(seed))
        path.write_bytes(content)
        try:
            with warnings.catch_warnings(action="ignore"):
                found = read_images([path], SHAPE)
        except ValueError as error:
            said = str(error)
            assert said.startswith(f"{path}: cannot be read as an image: "), (seed, said)
            assert said.count("\n") == 0, (seed, said)
            ends["refused"] += 1
        else:
            assert found.shape == (1, *SHAPE), seed
            assert not name or torch.equal(found, wanted[name]), seed
            ends["read"] += 1
    return dict(ends)


def test_hundreds_of_odd_pictures_are_read_or_refused_by_name(tmp_path: Path) -> None:
    ends = try_pictures(tmp_path, 240)
    assert min(ends.values()) > 60


@pytest.mark.slow
def test_ten_thousand_odd_pictures_are_read_or_refused_by_name(tmp_path: Path) -> None:
    ends = try_pictures(tmp_path, 10_000)
    keep(pictures={"total": 10_000, **ends})
    assert min(ends.values()) > 2_500
