"""What dvc.yaml says of a stage: the params that it depends on, what it reads of other stages, and what it writes."""

from pathlib import Path
from typing import Any

from dmd.params.dialect import read_yaml
from dmd.runtime.places import writer_of

PIPELINE = Path("dvc.yaml")


def stage_entry(stage: str) -> dict[str, Any]:
    """The stage's entry; empty where there is no dvc.yaml, or none of that stage: it runs by hand."""
    if not PIPELINE.exists():
        return {}
    return read_yaml(PIPELINE)["stages"].get(stage, {})


def param_keys(stage: str) -> list[str] | None:
    """Dotted keys of the params that the stage depends on; None where there is no dvc.yaml."""
    if not PIPELINE.exists():
        return None
    return [key for entry in stage_entry(stage).get("params", []) for names in entry.values() for key in names]


def check_inputs(stage: str, system: str) -> None:
    """Refuse to start a stage before its inputs are there.

    Raises:
        ValueError: names the first that is not, and the stage that writes it.
    """
    for path in _paths(stage, "deps", system):
        writer = writer_of(path)
        if writer is not None and not path.exists():
            raise ValueError(
                f"{path} is not there, and the stage `{stage}` reads it; run the stage `{writer}` first: "
                f"`dvc repro {writer}` beside the params file, or `dvc pull` where a remote has it"
            )


def output_folders(stage: str, system: str) -> list[Path]:
    """The folders below data/ and models/ that the stage replaces whole."""
    paths = [path for path in _paths(stage, "outs", system) if writer_of(path) == stage]
    return [path for path in paths if not path.suffix]  # the card is a file


def _paths(stage: str, key: str, system: str) -> list[Path]:
    entries = [entry if isinstance(entry, str) else next(iter(entry)) for entry in stage_entry(stage).get(key, [])]
    return [Path(entry.replace("${system}", system)) for entry in entries]
