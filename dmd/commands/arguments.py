"""What commands have in common: their arguments, and the check that the stage before them has run."""

from pathlib import Path
from typing import Annotated

import typer

ParamsFile = Annotated[Path, typer.Argument(help="The params file, as params.yaml.", show_default=False)]
TableFile = Annotated[Path, typer.Argument(help="The CSV to write.", show_default=False)]
GrowingTable = Annotated[
    Path, typer.Argument(help="The CSV to write; rows that it has are not run again.", show_default=False)
]

SETS = 3
"""Disjoint sets of noises that tables score, for the spread."""


def require(folder: Path, stage: str) -> Path:
    """The folder, which `stage` writes.

    Raises:
        ValueError: it is not there; names the stage to run.
    """
    if not folder.is_dir():
        raise ValueError(
            f"{folder} is not there; run the pipeline up to the stage `{stage}` (`dvc repro {stage}`), "
            "from the repository's root"
        )
    return folder


def read_numbers(text: str, option: str) -> list[int]:
    """`1,2,3` as whole numbers.

    Raises:
        typer.BadParameter: it is not written so; names the option and the text.
    """
    try:
        return [int(value) for value in text.split(",")]
    except ValueError as error:
        raise typer.BadParameter(f"{option} {text!r}: whole numbers with commas, as 1,2,3") from error
