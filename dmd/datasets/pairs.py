"""Noise-image pairs on disk: shards of safetensors and a manifest, made, verified and read."""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors import safe_open
from torch import Tensor

from dmd.runtime.files import file_sha256, save_tensors
from dmd.runtime.handed import HandedError, read_table

MANIFEST = "manifest.csv"
NAMES = ("z", "x0", "label", "index")


def shard_rows(count: int, shard_size: int) -> list[range]:
    """The rows of each shard, in order; the last may be shorter."""
    return [range(first, min(first + shard_size, count)) for first in range(0, count, shard_size)]


def shard_name(number: int) -> str:
    """File name of shard `number`."""
    return f"shard-{number:05d}.safetensors"


def write_shards(
    out: Path,
    shards: Sequence[range],
    read: Callable[[range], Mapping[str, Tensor]],
    columns: Mapping[str, Any],
) -> None:
    """Write to `out` a shard for each range of rows, as `read` gives them, and the manifest: one line a shard.

    `columns` says of every shard how its pairs were made.

    Raises:
        ValueError: `read` gave other rows than were asked for, or an image that is not finite; names the row.
    """
    lines = []
    for number, rows in enumerate(shards):
        pairs, path = read(rows), out / shard_name(number)
        if pairs["index"].tolist() != list(rows):
            raise ValueError(f"{path.name}: the pairs at hand are not the rows {rows.start} … {rows.stop - 1}")
        for row in (~pairs["x0"].isfinite().flatten(1).all(1)).nonzero().flatten().tolist():
            raise ValueError(
                f"{path.name}: the image of row {rows[row]} is not finite; look for NaN in the teacher's weights, "
                "or take another pairs.solver or more pairs.num_steps"
            )
        save_tensors(path, pairs)
        lines.append(
            {"shard": path.name, "first": rows.start, "last": rows.stop - 1, "sha256": file_sha256(path), **columns}
        )
    pd.DataFrame(lines).to_csv(out / MANIFEST, index=False)


class PairStore:
    """Pairs read by memory map: only the rows asked for enter memory, and they leave it with the batch."""

    def __init__(self, folder: Path) -> None:
        """Open the shards that the manifest lists.

        Raises:
            HandedError: the manifest is not there or has no shards; or a shard's bytes are not those that it says, or
                the shards are not one run of rows from 0. It names the file and the cure.
        """
        self.manifest = read_table(folder / MANIFEST, ("shard", "first", "last", "sha256"))
        expected = 0
        for row in self.manifest.itertuples():
            path = folder / str(row.shard)
            if row.first != expected or not path.exists() or file_sha256(path) != row.sha256:
                raise HandedError(path, "is missing or changed since the manifest was written")
            expected = int(str(row.last)) + 1
        self._paths = [folder / name for name in self.manifest["shard"]]
        self._first = self.manifest["first"].tolist()
        self._count = expected
        with safe_open(self._paths[0], framework="pt") as shard:
            self._image_shape = tuple(shard.get_slice("z").get_shape()[1:])

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Channels, height and width."""
        return self._image_shape

    def __len__(self) -> int:
        """Number of pairs."""
        return self._count

    def read(self, rows: Sequence[int]) -> dict[str, Tensor]:
        """The pairs of these rows, in this order: `z`, `x0`, `label`, `index`."""
        parts: list[dict[str, Tensor]] = [{} for _ in rows]
        for number, places in self._by_shard(rows):
            # Mapped for this batch only: pages of a file count as memory of the process for as long as it maps them.
            with safe_open(self._paths[number], framework="pt") as shard:
                slices = {name: shard.get_slice(name) for name in NAMES}
                for place in places:
                    offset = rows[place] - self._first[number]
                    parts[place] = {name: part[offset : offset + 1].clone() for name, part in slices.items()}
        return {name: torch.cat([part[name] for part in parts]) for name in NAMES}

    def _by_shard(self, rows: Sequence[int]) -> Iterator[tuple[int, list[int]]]:
        """Number of each shard that is needed, with the places in `rows` of what it has."""
        places: dict[int, list[int]] = {}
        for place, row in enumerate(rows):
            places.setdefault(bisect_right(self._first, row) - 1, []).append(place)
        yield from sorted(places.items())
