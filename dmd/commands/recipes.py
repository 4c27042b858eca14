"""Recipes: methods by name, each a small file of params that are set before a run."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dmd.params.dialect import read_yaml

FOLDER = Path("recipes")
"""From the repository's root."""

Recipe = Mapping[str, Any]
"""Dotted keys of the params and their values."""


def recipe_names() -> list[str]:
    """Every recipe."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load_recipe(name: str) -> Recipe:
    """The params that a recipe sets.

    Raises:
        ValueError: there is none of that name, or it is no mapping of dotted keys; names the recipes that there are.
    """
    path = FOLDER / f"{name}.yaml"
    if not path.is_file():
        raise ValueError(f"{path}: no such recipe; take one of {', '.join(recipe_names()) or 'none: go to the root'}")
    try:
        values = read_yaml(path)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if not isinstance(values, dict) or any(isinstance(value, dict) for value in values.values()):
        raise ValueError(f"{path}: must be lines of `dotted.key: value`")
    return values


def experiment_command(recipe: Recipe, name: str, more: Sequence[str], temp: bool) -> list[str]:
    """`dvc exp run` with the recipe's params and then `more`, to be run beside a params file; in a copy if `temp`."""
    changes = [f"{key}={_hydra(value)}" for key, value in recipe.items()]
    sets = [part for change in (*changes, *more) for part in ("-S", change)]
    return ["dvc", "exp", "run", *(["--temp"] if temp else []), "--name", name, *sets]


def run_experiment(command: Sequence[str], params: Path) -> int:
    """Run it where the params file lies; returns DVC's exit code.

    Raises:
        ValueError: there is no dvc.yaml beside the params file, or that reads another one.
    """
    if params.name != "params.yaml":
        raise ValueError(f"{params}: the pipeline beside it reads params.yaml; name that, or set what differs with -S")
    if not (params.parent / "dvc.yaml").is_file():
        raise ValueError(f"{params}: there is no dvc.yaml beside it; name the params file of a system")
    return subprocess.run(command, cwd=params.parent, check=False).returncode


def _hydra(value: Any) -> str:
    """A value as Hydra's overrides write it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return "[" + ",".join(_hydra(item) for item in value) + "]" if isinstance(value, list) else str(value)
