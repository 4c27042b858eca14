"""What one stage hands to another, read by a model: a file that is not as its stage writes it is refused by name.

The refusal says what is wrong with the file, and which stage to run again.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError
from torch import Tensor

from dmd.runtime.files import load_json, load_tensors
from dmd.runtime.places import writer_of


class HandedError(ValueError):
    """A file of an earlier stage is missing, empty or of another shape."""

    def __init__(self, path: Path, what: str) -> None:
        """`<path> <what>; run the stage … again`."""
        self.what = what
        stage = writer_of(path)
        again = f"run the stage `{stage}` again (dvc repro -f -s {stage})" if stage else "restore it"
        super().__init__(f"{path} {what}; {again}")


@contextmanager
def _reading(path: Path, otherwise: str, *errors: type[Exception]) -> Iterator[None]:
    """The context in which `path` is read; that it cannot be is told as a HandedError, and these errors `otherwise`."""
    try:
        yield
    except OSError as error:
        raise HandedError(path, "is not there" if isinstance(error, FileNotFoundError) else "cannot be read") from error
    except errors as error:
        raise HandedError(path, f"{otherwise} ({' '.join(str(error).split())})") from error


def read_json(path: Path, model: Any = dict[str, Any]) -> Any:
    """The value of a JSON file that fits `model`, a type that pydantic knows; unchanged by it.

    Raises:
        HandedError: it is not there, is no JSON, or does not fit.
    """
    with _reading(path, "is no JSON", ValueError, RecursionError):
        value = load_json(path)
    try:
        TypeAdapter(model).validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise HandedError(path, f"is not as it was written ({key + ': ' if key else ''}{first['msg']})") from error
    return value


def read_table(path: Path, columns: Collection[str], may_be_empty: bool = False) -> pd.DataFrame:
    """The table of a CSV file that has these columns, and rows unless it `may_be_empty`.

    Raises:
        HandedError: it is not there, is no table, or lacks a column or rows.
    """
    with _reading(path, "is no table", ValueError):  # pandas' own errors are kinds of it
        table = pd.read_csv(path)
    missing = [name for name in columns if name not in table]
    if missing:
        raise HandedError(path, f"has no column {', '.join(missing)}, but {', '.join(map(str, table.columns))}")
    if table.empty and not may_be_empty:
        raise HandedError(path, "has no rows")
    return table


def read_tensors(path: Path, dimensions: Mapping[str, int]) -> dict[str, Tensor]:
    """The tensors of a safetensors file, which has these by name, each with so many dimensions and equally many rows.

    Raises:
        HandedError: it is not there, is no such file, or lacks a tensor or rows.
    """
    with _reading(path, "is no safetensors file", SafetensorError):
        tensors = load_tensors(path)
    for name, count in dimensions.items():
        if name not in tensors:
            raise HandedError(path, f"has no tensor `{name}`, but {', '.join(sorted(tensors)) or 'none'}")
        if tensors[name].ndim != count or not len(tensors[name]):
            raise HandedError(
                path, f"has `{name}` of shape {list(tensors[name].shape)}, not {count} dimensions and rows"
            )
    if len({len(tensors[name]) for name in dimensions}) > 1:
        raise HandedError(path, f"has unequal numbers of {', '.join(dimensions)}")
    return tensors
