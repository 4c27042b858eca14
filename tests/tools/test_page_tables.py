"""The tables of pages are those of their files: whole, or the rows that a page names."""

from pathlib import Path

import pytest

from dmd.runtime.files import save_json
from tools.tables import filled, stale


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "ratios.csv").write_text("ratio,median,repeats\na,1.23456,3\nb,,1\nc,2,5\n", encoding="utf-8")
    scores = {name: {"fd_x": 3.0, "fd_x_std": 0.25, "nfe": nfe} for name, nfe in (("teacher", 8), ("student", 1))}
    save_json(tmp_path / "metrics.json", scores)
    return tmp_path


def cells(text: str) -> list[list[str]]:
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    return [rows[0], *rows[2:]]


def test_a_block_holds_the_whole_table_of_its_file(root: Path) -> None:
    page = filled("Before.\n<!-- table: ratios.csv -->\nold\n<!-- end -->\nAfter.\n", root)
    assert cells(page) == [["ratio", "median", "repeats"], ["a", "1.235", "3"], ["b", "", "1"], ["c", "2", "5"]]
    assert page.startswith("Before.\n<!-- table: ratios.csv -->\n\n|")
    assert page.endswith("\n\n<!-- end -->\nAfter.\n")
    assert filled(page, root) == page


def test_a_block_holds_the_rows_that_it_names_in_their_order(root: Path) -> None:
    page = filled("<!-- table: ratios.csv rows: c, a -->\n<!-- end -->\n", root)
    assert [row[0] for row in cells(page)[1:]] == ["c", "a"]
    assert filled(page, root) == page
    scores = filled("<!-- table: metrics.json rows: nfe -->\n<!-- end -->\n", root)
    assert cells(scores) == [["", "teacher", "one step, after"], ["nfe", "8", "1"]]
    assert "3 ± 0.25" in filled("<!-- table: metrics.json -->\n<!-- end -->\n", root)


@pytest.mark.parametrize("block", ["ratios.csv rows: d", "gone.csv", "notes.txt"])
def test_what_is_not_there_is_refused(root: Path, block: str) -> None:
    (root / "notes.txt").write_text("", encoding="utf-8")
    with pytest.raises(ValueError, match=r"no row d|no such file|comes from"):
        filled(f"<!-- table: {block} -->\n<!-- end -->\n", root)


def test_pages_below_docs_are_held_too(root: Path) -> None:
    (root / "README.md").write_text("No table.\n", encoding="utf-8")
    page = root / "docs" / "results" / "x.md"
    page.parent.mkdir(parents=True)
    page.write_text("<!-- table: ratios.csv rows: a -->\n<!-- end -->\n", encoding="utf-8")
    assert list(stale(root)) == [page]
    page.write_text(stale(root)[page], encoding="utf-8")
    assert not stale(root)
