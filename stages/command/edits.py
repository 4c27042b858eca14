"""What DVC locks with a stage's outputs, as it is after the command: so it must be what the command started with."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from dmd.runtime.files import file_sha256
from dmd.runtime.work_folder import loaded_sources

PIPELINE = Path("dvc.yaml")


def locked_inputs(params: Path, stage: str) -> dict[str, Any]:
    """Hash of the source of every loaded module, and the value of each param that `stage` depends on in dvc.yaml.

    Where there is no dvc.yaml the stage runs by hand, and depends on the whole file.
    """
    values = yaml.safe_load(params.read_text(encoding="utf-8"))
    if not PIPELINE.exists():
        return {**loaded_sources(), params.as_posix(): values}
    entries = yaml.safe_load(PIPELINE.read_text(encoding="utf-8"))["stages"].get(stage, {}).get("params", [])
    keys = [key for entry in entries for names in entry.values() for key in names]
    return {**loaded_sources(), **{f"{key} in {params}": value_at(values, key) for key in keys}}


def value_at(values: Any, key: str) -> Any:
    """The value of a dotted key of a params file, None where there is none."""
    for part in key.split("."):
        values = values.get(part) if isinstance(values, dict) else None
    return values


def check_edits(before: Mapping[str, Any], params: Path) -> None:
    """Refuse to finish where a source or param changed since `before`: DVC would lock the new one with these outputs.

    Raises:
        ValueError: names what changed.
    """
    changed = [name for name, content in before.items() if content != _now(name, params)]
    if changed:
        raise ValueError(f"{', '.join(changed)} changed while the stage ran; run the stage again")


def _now(name: str, params: Path) -> Any:
    """What an entry of `locked_inputs` is by now; None for a file that is gone or cannot be read."""
    key = name.removesuffix(f" in {params}")
    try:
        if key == name and name != params.as_posix():
            return file_sha256(Path(name))
        values = yaml.safe_load(params.read_text(encoding="utf-8"))
        return values if key == name else value_at(values, key)
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return None
