"""Chunks: pairs in a work folder, as any number of workers make them, until they are assembled into shards.

The unit of work is a batch of rows k B … (k + 1) B - 1, whatever the number of pairs, the shards or the workers, and
always whole: the same rows in the same batches, hence the same bits.
"""

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from accelerate.utils import tqdm
from safetensors import safe_open
from torch import Tensor

from dmd.runtime.files import file_sha256, load_json, save_json, save_tensors
from dmd.runtime.locks import take

logger = logging.getLogger(__name__)

Pairs = Mapping[str, Tensor]


class Chunks:
    """Files of pairs, `rows-<first>-<stop>.safetensors`, each with a small JSON file that says it is whole."""

    def __init__(self, folder: Path, batch_size: int) -> None:
        """Chunks in `folder`, made in batches of `batch_size` rows."""
        self.folder, self.batch_size = folder, batch_size
        self._made: list[tuple[range, Path]] = []

    def make(self, count: int, compute: Callable[[range], Pairs]) -> None:
        """Compute the batches that rows 0 … `count` - 1 still need, beside any other worker on the same folder.

        A batch that another worker has claimed is passed over at first; in the end it is waited for, until it is there
        or its worker is gone, and then computed here.
        """
        for wait in (False, True):
            missing = self.missing(count)
            for rows in tqdm(missing, "pairs", total=len(missing), unit="batch") if missing else ():
                self._make_one(rows, compute, wait)
        self._made = list(self._files())

    def missing(self, count: int) -> list[range]:
        """The batches of which no file holds all rows below `count`."""
        there = np.zeros(count, bool)
        for rows, _ in self._files():
            there[rows.start : rows.stop] = True
        size = self.batch_size
        starts = range(0, count, size)
        return [range(first, first + size) for first in starts if not there[first : first + size].all()]

    def verify(self) -> list[str]:
        """Remove every file whose bytes are not those that were written; returns their names."""
        broken = [path for _, path in self._files() if load_json(_note(path))["sha256"] != file_sha256(path)]
        for path in broken:
            logger.warning("%s is not as it was written; its rows are made again", path)
            _remove(path)
        return [path.name for path in broken]

    def read(self, rows: range) -> dict[str, Tensor]:
        """The pairs of these rows, which `make` has made."""
        parts: list[dict[str, Tensor]] = []
        first = rows.start
        for here, path in self._made:
            if here.start <= first < min(here.stop, rows.stop):
                stop = min(here.stop, rows.stop)
                with safe_open(path, framework="pt") as file:
                    part = slice(first - here.start, stop - here.start)
                    parts.append({name: file.get_slice(name)[part].clone() for name in file.keys()})  # noqa: SIM118
                first = stop
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    def keep(self, out: Path, names: Sequence[str], shards: Sequence[range]) -> None:
        """Let finished shards take the place of the chunks they were made of: hard links, which take no room.

        So a later run for more pairs, or in shards of another size, has them.
        Where the file systems differ, the chunks stay as they are.
        """
        before = [path for rows, path in self._files() if rows.stop <= shards[-1].stop]
        kept = []
        for name, rows in zip(names, shards, strict=True):
            target = self._path(rows)
            temporary = target.with_name(f"{target.name}.{os.getpid()}.tmp")
            try:
                os.link(out / name, temporary)
            except OSError as error:
                logger.info("%s: chunks stay beside the shards: %s", self.folder, error)
                return
            _note(target).unlink(missing_ok=True)
            os.replace(temporary, target)
            self._write_note(target)
            kept.append(target)
        for path in before:
            if path not in kept:
                _remove(path)
        for path in self.folder.glob("*.tmp"):  # what a kill left
            path.unlink()

    def _make_one(self, rows: range, compute: Callable[[range], Pairs], wait: bool) -> None:
        path = self._path(rows)
        claim = take(path.with_suffix(".claim"), wait)
        if claim is None:
            return
        with claim:
            if not _is_there(path):
                save_tensors(path, compute(rows))
                self._write_note(path)
            path.with_suffix(".claim").unlink(missing_ok=True)

    def _write_note(self, path: Path) -> None:
        save_json(_note(path), {"bytes": path.stat().st_size, "sha256": file_sha256(path)})

    def _path(self, rows: range) -> Path:
        return self.folder / f"rows-{rows.start:09d}-{rows.stop:09d}.safetensors"

    def _files(self) -> Iterator[tuple[range, Path]]:
        """Rows and path of every file that is there, by its first row; the longest of those that start alike first."""
        found = []
        for path in self.folder.glob("rows-*.safetensors"):
            first, stop = (int(part) for part in path.stem.split("-")[1:])
            if _is_there(path):
                found.append((first, -stop, path))
        for first, negative, path in sorted(found):
            yield range(first, -negative), path


def _note(path: Path) -> Path:
    return path.with_suffix(".json")


def _remove(path: Path) -> None:
    _note(path).unlink()
    path.unlink()


def _is_there(path: Path) -> bool:
    """Whether the note is there, which is written last, and the file has its length."""
    try:
        return bool(load_json(_note(path))["bytes"] == path.stat().st_size)
    except (OSError, ValueError, KeyError, TypeError):
        return False
