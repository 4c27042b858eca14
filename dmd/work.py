"""Work that can be cut off: a folder beside DVC's outputs, named by the content of all that the result depends on."""

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dmd.checkpoint import file_sha256, folder_sha256


def fingerprint(inputs: Sequence[Path], params: Mapping[str, Any]) -> str:
    """Hash of the content of every input, the params and the source of every loaded module of this project, 16 hex."""
    hashes = {path.as_posix(): folder_sha256(path) if path.is_dir() else file_sha256(path) for path in inputs}
    parts = json.dumps([hashes, params, loaded_sources()], sort_keys=True)
    return hashlib.sha256(parts.encode()).hexdigest()[:16]


def work_folder(stage: str, inputs: Sequence[Path], params: Mapping[str, Any]) -> Path:
    """`.work/<stage>/<fingerprint>` ($DMD_WORK in place of `.work`), made if missing.

    A killed stage finds its own work there; a changed input, parameter or source leads elsewhere.
    """
    folder = Path(os.environ.get("DMD_WORK", ".work")) / stage / fingerprint(inputs, params)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def finish(work: Path) -> None:
    """Remove a finished run's work folder."""
    shutil.rmtree(work, ignore_errors=True)


def loaded_sources() -> dict[str, str]:
    """SHA-256 of the source of every loaded module of this project and of the running command, by file name."""
    modules = [module for name, module in sys.modules.items() if name.split(".")[0] in ("dmd", "stages", "__main__")]
    files = {Path(file) for module in modules if (file := getattr(module, "__file__", None))}
    return {path.as_posix(): file_sha256(path) for path in sorted(files) if path.suffix == ".py"}
