"""Fill the tables of README.md and docs/ from the files that runs wrote, so that no number is typed.

A block `<!-- table: PATH -->` … `<!-- end -->` holds the table of PATH: a CSV, a metrics.json's scores, the params
in which a dvc.lock's run differs from the params.yaml beside it, or of the folder `metrics` its systems side by side.
`<!-- table: PATH rows: NAME, NAME -->` holds those rows alone, in that order; a row's name is its first column.
`<!-- table: PATH as: VIEW -->` holds what a function of `tools/method_tables.py` or `tools/teacher_tables.py` makes
of it.

    python -m tools.tables          write
    python -m tools.tables --check  exit 1 where a table is not that of its file
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from dmd.report.page import format_number
from dmd.report.tables import score_table
from dmd.runtime.files import load_json
from tools import method_tables, teacher_tables
from tools.check_lock import other_params
from tools.systems_table import systems

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(
    r"(<!-- table: (?P<path>\S+)(?: as: (?P<view>\S+))?(?: rows: (?P<rows>[^\n]+?))? -->\n).*?(?P<end><!-- end -->)",
    re.DOTALL,
)

VIEWS = method_tables.VIEWS | teacher_tables.VIEWS
"""By name, from a table to what is shown of it."""


def table_of(path: Path) -> pd.DataFrame:
    """The table of a CSV, a metrics.json, a dvc.lock or a folder of metrics; its first column names its rows.

    Raises:
        ValueError: the file is none of these, or not there.
    """
    if path.is_dir():
        return systems(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such file; run what writes it, or take its block out of the page")
    if path.suffix == ".csv":
        return pd.read_csv(path)
    if path.suffix == ".json":
        return score_table(load_json(path)).transpose().rename_axis("").reset_index()
    if path.suffix == ".lock":
        return pd.DataFrame(other_params(path), columns=["params", "params.yaml", "the run in git"])
    raise ValueError(f"{path}: a table comes from a .csv, a metrics .json or a dvc.lock")


def markdown(path: Path, rows: Sequence[str] = (), view: str | None = None) -> str:
    """The table of a file, or a view of it, as Markdown, numbers to four significant digits; `rows` alone if any.

    Raises:
        ValueError: as `table_of`, a row is not in the table, or there is no such view.
    """
    table = table_of(path)
    if view is not None:
        if view not in VIEWS:
            raise ValueError(f"{path}: no view {view!r}; take one of {', '.join(VIEWS)}")
        table = VIEWS[view](table)
    if rows:
        missing = sorted(set(rows) - set(table.iloc[:, 0]))
        if missing:
            raise ValueError(f"{path}: no row {', '.join(missing)}; take it out of the page's block")
        table = table.set_index(table.columns[0]).loc[list(rows)].reset_index()
    return table.map(format_number).to_markdown(index=False, disable_numparse=True) + "\n"


def filled(text: str, root: Path) -> str:
    """The text with every block's table written anew."""

    def block(match: re.Match[str]) -> str:
        rows = [row.strip() for row in (match["rows"] or "").split(",") if row.strip()]
        return match[1] + "\n" + markdown(root / match["path"], rows, match["view"]) + "\n" + match["end"]

    return BLOCK.sub(block, text)


def stale(root: Path) -> dict[Path, str]:
    """Pages whose tables are not those of their files, with the text they should have."""
    paths = (root / "README.md", *sorted(root.glob("docs/**/*.md")))
    pages = {path: path.read_text(encoding="utf-8") for path in paths}
    return {path: filled(text, root) for path, text in pages.items() if filled(text, root) != text}


def main(check: Annotated[bool, typer.Option(help="Only say whether the tables are up to date.")] = False) -> None:
    """Write the tables of README.md and docs/ from their files."""
    pages = stale(ROOT)
    for path, text in pages.items():
        typer.echo(f"{path.relative_to(ROOT)}: {'out of date; run `make tables`' if check else 'written'}")
        if not check:
            path.write_text(text, encoding="utf-8")
    if check and pages:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
