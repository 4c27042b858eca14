"""Pages that a person reads are short, and what they link to or name is there."""

import re
from pathlib import Path

import pytest
from PIL import Image

from tests.architecture.sources import ROOT

README_BYTES = 8 * 1024
PAGE_BYTES = 10 * 1024
ROWS = 10
PAGES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md"))
SHORT = [page for page in PAGES if Path(page).parent == Path("docs")]
LINKING = ["README.md", "CONTRIBUTING.md", *PAGES]
FOLDERS = ("assets", "benchmarks", "dmd", "docs", "pipelines", "stages", "tests", "tools")
LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^)\s]+)\)")
NAMED = re.compile(rf"`(?P<path>(?:{'|'.join(FOLDERS)})/[\w./-]*)`")
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def prose(page: str) -> str:
    """A page without its blocks of code."""
    return FENCE.sub("", (ROOT / page).read_text(encoding="utf-8"))


def anchors(text: str) -> set[str]:
    """What `#…` may name: the headings, as GitHub spells them."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(page: str) -> list[str]:
    """Links of a page to files or headings of this repository that are not there."""
    broken = []
    for target in (match["target"] for match in LINK.finditer(prose(page))):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        path = (ROOT / page).parent / name if name else ROOT / page
        if not path.exists() or (anchor and anchor not in anchors(prose(path.resolve().relative_to(ROOT).as_posix()))):
            broken.append(target)
    return broken


def test_the_readme_is_read_in_minutes() -> None:
    assert (ROOT / "README.md").stat().st_size <= README_BYTES, "move what is not for a first reader to docs/"


def test_the_recording_moves_and_is_light() -> None:
    path = ROOT / "docs" / "demo.webp"
    assert path.stat().st_size <= 2**20, "record fewer frames: tools/record_demo.py"
    with Image.open(path) as recording:
        assert getattr(recording, "n_frames", 1) > 10


@pytest.mark.parametrize("page", SHORT)
def test_a_page_is_read_in_minutes(page: str) -> None:
    assert (ROOT / page).stat().st_size <= PAGE_BYTES, "move long tables to docs/results/"


@pytest.mark.parametrize("page", ["README.md", *SHORT])
def test_a_table_is_read_in_minutes(page: str) -> None:
    tables = re.findall(r"(?:^\|.*\n)+", prose(page), re.MULTILINE)
    assert not [rows[0] for rows in map(str.splitlines, tables) if len(rows) - 2 > ROWS], (
        "the whole table: docs/results/"
    )


@pytest.mark.parametrize("page", LINKING)
def test_links_lead_somewhere(page: str) -> None:
    assert not broken_links(page)


@pytest.mark.parametrize("page", LINKING)
def test_paths_that_a_page_names_are_there(page: str) -> None:
    assert not [match["path"] for match in NAMED.finditer(prose(page)) if not (ROOT / match["path"]).exists()]


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached, open_pages = {"README.md"}, ["README.md"]
    while open_pages:
        page = open_pages.pop()
        for match in LINK.finditer(prose(page)):
            name = match["target"].partition("#")[0]
            path = ((ROOT / page).parent / name).resolve()
            if "://" in name or not path.is_file() or path.suffix != ".md":
                continue
            found = path.relative_to(ROOT).as_posix()
            if found not in reached:
                reached.add(found)
                open_pages.append(found)
    assert not {page for page in PAGES if Path(page).parent != Path("docs/decisions")} - reached


def test_a_link_to_nothing_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.md").write_text("# One: two\n[b](b.md#three_four) [c](#one-two) [d](b.md#five) [e](gone.md)\n")
    (tmp_path / "b.md").write_text("## Three_four\n```\n# five\n[f](code.md)\n```\n")
    monkeypatch.setattr("tests.architecture.test_pages.ROOT", tmp_path)
    assert broken_links("a.md") == ["b.md#five", "gone.md"]
    assert broken_links("b.md") == []
