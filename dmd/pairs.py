"""Noise-image pairs on disk: shards of safetensors and a manifest, made, verified and read."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors import safe_open
from torch import Tensor

from dmd.checkpoint import file_sha256, load_json, save_json, save_tensors
from dmd.denoiser import BaseDenoiser
from dmd.rng import Stream, sample_noise
from dmd.sampler import count_nfe, sample
from dmd.types import Labels

MANIFEST = "manifest.csv"


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


def make_pairs(denoiser: BaseDenoiser, recipe: PairRecipe, rows: range, batch_size: int) -> dict[str, Tensor]:
    """Pairs of the given rows on the CPU: `z`, `x0` [N, C, H, W] float32, `label`, `index` [N] int64.

    x0 is the teacher's ODE solution from z ~ N(0, I); row i is a function of the recipe and i. Label -1 means none.
    """
    device = next(denoiser.parameters()).device
    images = []
    z = sample_noise(recipe.seed, rows, recipe.image_shape, Stream.PAIRS)
    labels = balanced_labels(rows, recipe.num_classes)
    for first in range(0, len(rows), batch_size):
        part = slice(first, first + batch_size)
        batch_labels = None if labels is None else labels[part].to(device)
        x0 = sample(
            denoiser,
            z[part].to(device),
            batch_labels,
            recipe.scheduler_config,
            recipe.solver,
            recipe.num_steps,
            recipe.timestep_spacing,
        )
        images.append(x0.float().cpu())
    index = torch.tensor(list(rows))
    return {
        "z": z,
        "x0": torch.cat(images),
        "label": torch.full_like(index, -1) if labels is None else labels,
        "index": index,
    }


def shard_name(number: int) -> str:
    """File name of shard `number`."""
    return f"shard-{number:05d}.safetensors"


def write_shard(folder: Path, number: int, rows: range, pairs: Mapping[str, Tensor]) -> None:
    """Write a shard and, after it, the small file that says it is whole."""
    path = folder / shard_name(number)
    save_tensors(path, pairs)
    save_json(path.with_suffix(".json"), {"first": rows.start, "last": rows.stop - 1, "sha256": file_sha256(path)})


def shard_is_whole(folder: Path, number: int, rows: range) -> bool:
    """Whether an earlier run left this shard, with these rows and these very bytes."""
    path = folder / shard_name(number)
    try:
        record = load_json(path.with_suffix(".json"))
        return record == {"first": rows.start, "last": rows.stop - 1, "sha256": file_sha256(path)}
    except (OSError, ValueError):
        return False


def write_manifest(work: Path, out: Path, recipe: PairRecipe, teacher_sha256: str, num_shards: int) -> None:
    """Move finished shards from the work folder to `out`, and write the manifest: one row a shard."""
    settings = asdict(recipe)
    kept = ("seed", "guidance_scale", "solver", "num_steps", "timestep_spacing")
    rows = []
    out.mkdir(parents=True, exist_ok=True)
    for number in range(num_shards):
        record = load_json((work / shard_name(number)).with_suffix(".json"))
        shutil.move(work / shard_name(number), out / shard_name(number))
        rows.append({"shard": shard_name(number), **record, **{key: settings[key] for key in kept}})
    table = pd.DataFrame(rows).assign(nfe=recipe.nfe, teacher_sha256=teacher_sha256)
    table.to_csv(out / MANIFEST, index=False)


class PairStore:
    """Pairs read by memory map: only the rows asked for enter memory."""

    def __init__(self, folder: Path) -> None:
        """Open the shards that the manifest lists.

        Raises:
            ValueError: a shard's bytes are not those of the manifest; names the shard and the cure.
        """
        self.manifest = pd.read_csv(folder / MANIFEST)
        for row in self.manifest.itertuples():
            path = folder / str(row.shard)
            if not path.exists() or file_sha256(path) != row.sha256:
                raise ValueError(
                    f"{path} is missing or changed since the manifest was written; run the pairs stage again"
                )
        self._shards = [safe_open(folder / name, framework="pt") for name in self.manifest["shard"]]
        self._first = self.manifest["first"].tolist()

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Channels, height and width."""
        return tuple(self._shards[0].get_slice("z").get_shape()[1:])

    def __len__(self) -> int:
        """Number of pairs."""
        return int(self.manifest["last"].iloc[-1]) + 1

    def read(self, rows: Sequence[int]) -> dict[str, Tensor]:
        """The pairs of these rows, in this order: `z`, `x0`, `label`, `index`."""
        parts = [self._row(row) for row in rows]
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    def _row(self, row: int) -> dict[str, Tensor]:
        number = max(i for i, first in enumerate(self._first) if first <= row)
        shard, offset = self._shards[number], row - self._first[number]
        return {name: shard.get_slice(name)[offset : offset + 1] for name in ("z", "x0", "label", "index")}
