"""Weights: the pretrained networks that a system starts from, as folders with a manifest.

Each folder holds `manifest.json`, `{"files": {name: sha256}}`; what is in it never depends on where it came from.
"""

import errno
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from diffusers.utils import SAFETENSORS_WEIGHTS_NAME
from safetensors import SafetensorError
from torch import Tensor

from dmd.fetch.diffusers_layout import read_object
from dmd.fetch.pointers import refuse_pointer
from dmd.models.teacher import HASHED
from dmd.runtime.files import file_sha256, load_tensors, save_json, whole_folder

logger = logging.getLogger(__name__)


def check_provenance(folder: Path, required: bool) -> None:
    """Hold the weights against the keys of `HASHED` in the `provenance.json` beside them.

    Raises:
        ValueError: the hashes differ, or there is no provenance though it is required.
    """
    path = folder / "provenance.json"
    kept = read_object(path) if path.is_file() else {}
    if required and kept.get("sha256") is None:
        raise ValueError(f"{path}: no key sha256 of {SAFETENSORS_WEIGHTS_NAME}; check the files out again")
    for key, name in HASHED.items():
        wanted, weights = kept.get(key), folder / name
        if wanted is None:
            continue
        if weights.is_file():
            refuse_pointer(weights)
        found = file_sha256(weights) if weights.is_file() else "no such file"
        if found != wanted:
            raise ValueError(f"{weights}: sha256 {found}, but {path.name} says {wanted}; check the files out again")


def read_index(path: Path) -> list[str]:
    """The names of the parts that an index of weights lists, each once.

    Raises:
        ValueError: it lists none, or something else than names of files beside it.
    """
    listed = read_object(path).get("weight_map")
    names = list(listed.values()) if isinstance(listed, dict) else []
    if not names or any(not isinstance(name, str) or name in ("", "..") or Path(name).name != name for name in names):
        raise ValueError(f"{path}: weight_map lists no files beside it; restore the file")
    return sorted(set(names))


def check_parts(folder: Path, parts: Sequence[Path]) -> dict[str, str]:
    """Hold weights in parts against the key `sha256_of_parts` of the folder's `provenance.json`, where it has one.

    Returns:
        The hash of each part by its name.

    Raises:
        ValueError: a part is missing, or its hash is another.
    """
    path = folder / "provenance.json"
    wanted = read_object(path).get("sha256_of_parts", {}) if path.is_file() else {}
    if not isinstance(wanted, dict):
        raise ValueError(f"{path}: sha256_of_parts is {wanted!r:.100}, not a hash by name; restore the file")
    hashes = {}
    for part in parts:
        if not part.is_file():
            raise ValueError(f"{part}: no such file, though the index beside it lists it; restore the file")
        hashes[part.name] = found = file_sha256(part)
        if found != wanted.get(part.name, found):
            raise ValueError(f"{part}: sha256 {found}, but {path.name} says {wanted[part.name]}; restore the file")
    return hashes


def make_folder(folder: Path, fill: Callable[[Path], None]) -> None:
    """Let `fill` write into the folder, and add the manifest; the folder is there whole or not at all."""
    with whole_folder(folder) as part:
        fill(part)
        files = {
            path.relative_to(part).as_posix(): file_sha256(path) for path in sorted(part.rglob("*")) if path.is_file()
        }
        save_json(part / "manifest.json", {"files": files})
    logger.info("%s: %s", folder, ", ".join(files) or "nothing needed")


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, or of a PyTorch file (`.bin`).

    Raises:
        ValueError: it is cut, or of another format; names it.
    """
    if path.suffix == ".bin":
        return read_pickle(path)
    try:
        return load_tensors(path)
    except SafetensorError as error:
        raise ValueError(f"{path}: cut, or no safetensors file: {error}; bring it again") from error


def read_pickle(path: Path) -> dict[str, Tensor]:
    """The tensors of a PyTorch file; nothing else in it is loaded or run.

    Raises:
        ValueError: it is cut, or holds anything but named tensors; names the file and the cure.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        return {key: value.clone().contiguous() for key, value in state.items()}
    except MemoryError:
        raise
    except Exception as error:  # no common name; and torch's sentence tells people to run what is in the file
        if isinstance(error, OSError) and error.errno != errno.EINVAL:  # torch's own, of an archive that is cut
            raise
        raise ValueError(
            f"{path}: refused: it is cut, or holds more than named tensors; take a model that is published as "
            "safetensors"
        ) from error
