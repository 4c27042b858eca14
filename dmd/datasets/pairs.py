"""Noise-image pairs on disk: shards of safetensors and a manifest, made, verified and read."""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors import safe_open
from torch import Tensor

from dmd.runtime.files import file_sha256, save_tensors
from dmd.diffusion.denoiser import BaseDenoiser
from dmd.diffusion.rng import Stream, sample_noise
from dmd.diffusion.sampler import count_nfe, sample
from dmd.types import Labels

MANIFEST = "manifest.csv"
NAMES = ("z", "x0", "label", "index")


@dataclass(frozen=True)
class PairRecipe:
    """All that a pair depends on, besides its index and the teacher's weights."""

    seed: int
    image_shape: tuple[int, ...]
    num_classes: int | None
    guidance_scale: float
    scheduler_config: Mapping[str, Any]
    solver: str
    num_steps: int
    timestep_spacing: str

    @property
    def nfe(self) -> int:
        """Network calls a pair."""
        return count_nfe(self.scheduler_config, self.solver, self.num_steps, self.timestep_spacing)


def balanced_labels(indices: Sequence[int], num_classes: int | None) -> Labels | None:
    """Class `index mod num_classes` for each index; none for an unconditional model."""
    return None if num_classes is None else torch.tensor([index % num_classes for index in indices])


def shard_rows(count: int, shard_size: int) -> list[range]:
    """The rows of each shard, in order; the last may be shorter."""
    return [range(first, min(first + shard_size, count)) for first in range(0, count, shard_size)]


def make_pairs(denoiser: BaseDenoiser, recipe: PairRecipe, rows: range) -> dict[str, Tensor]:
    """Pairs of the given rows, on the CPU: `z`, `x0` [N, C, H, W] float32, `label`, `index` [N] int64.

    x0 is the teacher's ODE solution from z ~ N(0, I), all rows in one batch. Row i is a function of the recipe and i;
    to the bit it also depends on the size of the batch, hence the fixed batches of `dmd.pairs.chunks`. Label -1 means none.
    """
    device = next(denoiser.parameters()).device
    z = sample_noise(recipe.seed, rows, recipe.image_shape, Stream.PAIRS)
    labels = balanced_labels(rows, recipe.num_classes)
    x0 = sample(
        denoiser,
        z.to(device),
        None if labels is None else labels.to(device),
        recipe.scheduler_config,
        recipe.solver,
        recipe.num_steps,
        recipe.timestep_spacing,
    )
    index = torch.tensor(list(rows))
    return {
        "z": z,
        "x0": x0.float().cpu(),
        "label": torch.full_like(index, -1) if labels is None else labels,
        "index": index,
    }


def shard_name(number: int) -> str:
    """File name of shard `number`."""
    return f"shard-{number:05d}.safetensors"


def write_shards(
    out: Path,
    shards: Sequence[range],
    read: Callable[[range], Mapping[str, Tensor]],
    recipe: PairRecipe,
    teacher_sha256: str,
) -> None:
    """Write to `out` a shard for each range of rows, as `read` gives them, and the manifest: one line a shard.

    Raises:
        ValueError: `read` gave other rows than were asked for, or an image that is not finite; names the row.
    """
    settings = asdict(recipe)
    kept = {key: settings[key] for key in ("seed", "guidance_scale", "solver", "num_steps", "timestep_spacing")}
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
            {"shard": path.name, "first": rows.start, "last": rows.stop - 1, "sha256": file_sha256(path), **kept}
        )
    table = pd.DataFrame(lines).assign(nfe=recipe.nfe, teacher_sha256=teacher_sha256)
    table.to_csv(out / MANIFEST, index=False)


class PairStore:
    """Pairs read by memory map: only the rows asked for enter memory, and they leave it with the batch."""

    def __init__(self, folder: Path) -> None:
        """Open the shards that the manifest lists.

        Raises:
            ValueError: a shard's bytes are not those of the manifest, or the shards are not one run of rows from 0;
                names the shard and the cure.
        """
        self.manifest = pd.read_csv(folder / MANIFEST)
        expected = 0
        for row in self.manifest.itertuples():
            path = folder / str(row.shard)
            if row.first != expected or not path.exists() or file_sha256(path) != row.sha256:
                raise ValueError(
                    f"{path} is missing or changed since the manifest was written; run the pairs stage again"
                )
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
