"""What DVC locks with a stage's outputs, as it is after the command: so it must be what the command started with."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dmd.params.dialect import read_yaml
from dmd.runtime.files import file_sha256
from dmd.runtime.work_folder import loaded_sources
from stages.command.pipeline import param_keys


def locked_inputs(params: Path, stage: str) -> dict[str, Any]:
    """Hash of the source of every loaded module, and the value of each param that `stage` depends on in dvc.yaml.

    Where there is no dvc.yaml the stage runs by hand, and depends on the whole file.
    """
    values, keys = read_yaml(params), param_keys(stage)
    if keys is None:
        return {**loaded_sources(), params.as_posix(): values}
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
        values = read_yaml(params)
        return values if key == name else value_at(values, key)
    except (OSError, ValueError):
        return None
