"""Fill the tables of README.md and docs/ from the files that runs wrote, so that no number is typed.

A block `<!-- table: PATH -->` … `<!-- end -->` holds the table of PATH: a CSV, a metrics.json's scores, or the params
in which a dvc.lock's run differs from the params.yaml beside it.

    python -m tools.tables          write
    python -m tools.tables --check  exit 1 where a table is not that of its file
"""

import re
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from dmd.report.page import format_number
from dmd.report.tables import score_table
from dmd.runtime.files import load_json
from tools.check_lock import other_params

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"(<!-- table: (?P<path>\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def markdown(path: Path) -> str:
    """The table of a CSV, a metrics.json or a dvc.lock as Markdown, numbers to four significant digits.

    Raises:
        ValueError: the file is none of these, or not there.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such file; run what writes it, or take its block out of the page")
    if path.suffix == ".csv":
        table = pd.read_csv(path)
        index = False
    elif path.suffix == ".json":
        table = score_table(load_json(path)).transpose()
        index = True
    elif path.suffix == ".lock":
        table = pd.DataFrame(other_params(path), columns=["params", "params.yaml", "the run in git"])
        index = False
    else:
        raise ValueError(f"{path}: a table comes from a .csv, a metrics .json or a dvc.lock")
    return table.map(format_number).to_markdown(index=index, disable_numparse=True) + "\n"


def filled(text: str, root: Path) -> str:
    """The text with every block's table written anew."""
    return BLOCK.sub(lambda block: block[1] + "\n" + markdown(root / block["path"]) + "\n" + block[3], text)


def stale(root: Path) -> dict[Path, str]:
    """Pages whose tables are not those of their files, with the text they should have."""
    pages = {path: path.read_text(encoding="utf-8") for path in (root / "README.md", *sorted(root.glob("docs/*.md")))}
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
