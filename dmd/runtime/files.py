"""Files that are whole or not there: safetensors and JSON, written to a temporary name and renamed; content hashes."""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

logger = logging.getLogger(__name__)


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write named tensors as one safetensors file, atomically."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    save_file({name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}, temporary)
    os.replace(temporary, path)


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file onto the CPU."""
    return load_file(path)


def save_json(path: Path, value: Any, sort_keys: bool = True) -> None:
    """Write JSON, atomically; with sorted keys, or in their order."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    temporary.write_text(json.dumps(value, indent=2, sort_keys=sort_keys, allow_nan=False) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def load_json(path: Path) -> Any:
    """Read JSON."""
    return json.loads(path.read_text(encoding="utf-8"))


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A folder to fill; it takes the place of `folder` when the block ends without an error, and is not seen before."""
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    yield part
    if folder.exists():
        shutil.rmtree(folder)
    os.replace(part, folder)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder_sha256(folder: Path) -> str:
    """SHA-256 over the sorted relative names and hashes of all files below a folder, in hex."""
    lines = [
        f"{file_sha256(path)}  {path.relative_to(folder).as_posix()}\n"
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    ]
    return hashlib.sha256("".join(lines).encode()).hexdigest()
