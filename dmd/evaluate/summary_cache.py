"""Summaries that are kept by content: those of the real images, and of a teacher's samples.

They depend on files and settings alone, so a later run with the same ones reads them instead of drawing again.
"""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object
from safetensors import SafetensorError

from dmd.evaluate.noises import Noises
from dmd.evaluate.summaries import Summary
from dmd.runtime.files import file_sha256, load_json, load_tensors, save_json, save_tensors
from dmd.runtime.places import Places
from dmd.runtime.work_folder import fingerprint, work_root

logger = logging.getLogger(__name__)

MAX_BYTES = 2**31
"""Entries beyond so many bytes in all are removed, those unused for longest first; the newest always stays."""


ROOMS = ("datasets", "diffusion", "evaluate", "features", "models", "types.py")
"""What a summary's numbers come from; all commands that have these sources share the entries."""


LIBRARIES = ("torch", "diffusers", "timm", "torch-fidelity")
"""Whose version is a part of an entry's name."""


def sources() -> dict[str, str]:
    """SHA-256 of every source file of `ROOMS` by its path in the package."""
    package = Path(__file__).parents[1]
    files = [path for room in ROOMS for path in (package / room, *(package / room).rglob("*.py")) if path.is_file()]
    return {path.relative_to(package).as_posix(): file_sha256(path) for path in files}


def reference_folder() -> Path:
    """`.work/reference` of the repository, or `$DMD_WORK/reference`; temporary copies share the original's."""
    return work_root() / "reference"


def cached(
    inputs: Sequence[Path], settings: Mapping[str, Any], device: torch.device, compute: Callable[[], Summary]
) -> Summary:
    """The summary that `compute` gives, from `.work/reference/` where it was computed before.

    Args:
        inputs: files and folders that it depends on, by content.
        settings: all else that it depends on; not the device.
        device: where the summary's tensors are wanted.
        compute: called where there is no entry, or a broken one.
    """
    key = fingerprint(inputs, {**settings, **{name: version(name).split("+")[0] for name in LIBRARIES}}, sources())
    path = reference_folder() / f"{key}.safetensors"
    found = _read(path, device)
    if not all(gather_object([found is not None])):  # computing is the work of all processes, or of none
        found = None
    if found is not None:
        logger.info("%s: read from %s", settings.get("name", "summary"), path)
        return found
    summary = compute()
    path.parent.mkdir(parents=True, exist_ok=True)
    save_tensors(path, summary.tensors())
    save_json(path.with_suffix(".json"), {"sha256": file_sha256(path), "settings": settings})
    _prune(path.parent)
    return summary


def cached_teacher(places: Places, drawn: Mapping[str, Any], noises: Noises, compute: Callable[[], Summary]) -> Summary:
    """The teacher's summary of a set of noises, read where the same teacher drew from the same noises before.

    `drawn` has what its samples depend on beside its weights and the noises: solver, steps, guidance.
    """
    settings = {"name": "teacher", "first": noises.first, "count": noises.count, "seed": noises.seed}
    settings |= {"num_classes": noises.num_classes, **drawn}
    return cached([places.teacher, places.weights("features")], settings, noises.device, compute)


def _read(path: Path, device: torch.device) -> Summary | None:
    """A whole entry, or none; its use is noted in its time of change."""
    try:
        if load_json(path.with_suffix(".json"))["sha256"] != file_sha256(path):
            logger.warning("%s is broken; it is computed again", path)
            return None
        summary = Summary.of(load_tensors(path), device)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        logger.warning("%s is broken; it is computed again: %s", path, error)
        return None
    with suppress(FileNotFoundError):  # another run removes it meanwhile
        os.utime(path)
    return summary


def _prune(folder: Path) -> None:
    """Remove the entries that are beyond `MAX_BYTES`."""
    found = []
    for path in folder.glob("*.safetensors"):
        with suppress(FileNotFoundError):  # another run removed it meanwhile
            found.append((path.stat().st_mtime, path.stat().st_size, path))
    total = 0
    for number, (_, size, path) in enumerate(sorted(found, reverse=True)):
        total += size
        if number > 0 and total > MAX_BYTES:
            path.with_suffix(".json").unlink(missing_ok=True)
            path.unlink(missing_ok=True)
