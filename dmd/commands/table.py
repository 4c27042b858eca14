"""Tables that commands write: CSV, floats to six significant digits, and the whole of it printed."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import typer

from dmd.runtime.files import whole_file


def read_rows(path: Path, text: str) -> list[dict[str, Any]]:
    """Rows that a table has already, none where there is no file; the column `text` is read as text."""
    if not path.exists():
        return []
    records = pd.read_csv(path, dtype={text: str}).to_dict("records")
    return [{str(name): value for name, value in record.items()} for record in records]


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the rows, whole or not at all, their folder made if missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as temporary:
        pd.DataFrame(rows).to_csv(temporary, index=False, float_format="%.6g")


def print_rows(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print the rows, aligned."""
    typer.echo(pd.DataFrame(rows).to_string(index=False))
