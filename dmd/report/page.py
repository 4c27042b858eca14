"""One self-contained HTML page of titled sections: pictures as data URIs, no network, light and dark."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup


@dataclass(frozen=True)
class Picture:
    """A PNG with the words under it; small ones are enlarged without smoothing."""

    png: bytes
    caption: str
    alt: str = ""

    @property
    def uri(self) -> str:
        """The picture as a data URI."""
        return "data:image/png;base64," + base64.b64encode(self.png).decode("ascii")


@dataclass(frozen=True)
class Gallery:
    """Pictures side by side: `large` (three a row on wide screens), or `small` tiles."""

    pictures: Sequence[Picture]
    size: str = "large"


@dataclass(frozen=True)
class Slider:
    """One picture of several at a time, the last at first."""

    pictures: Sequence[Picture]
    label: str


@dataclass(frozen=True)
class Curves:
    """SVG elements side by side, by title."""

    curves: Mapping[str, str]


@dataclass(frozen=True)
class Table:
    """A table with its index as first column."""

    frame: pd.DataFrame
    pictures: Sequence[Picture] = ()
    """One for each row, as its last column."""
    text: bool = False
    """The cells are words, not numbers: set to the left, and wrapped."""

    @property
    def columns(self) -> list[str]:
        """Titles of the columns."""
        return [str(name).replace("_", " ") for name in self.frame.columns]

    @property
    def rows(self) -> list[tuple[str, list[str], Picture | None]]:
        """Name, formatted cells and picture of each row."""
        pictures: Sequence[Picture | None] = self.pictures or [None] * len(self.frame)
        cells = [[format_number(cell) for cell in row] for row in self.frame.to_numpy(dtype=object)]
        return list(zip(map(str, self.frame.index), cells, pictures, strict=True))


@dataclass(frozen=True)
class Folded:
    """A long text behind its title."""

    text: str


Block = Gallery | Slider | Curves | Table | Folded


@dataclass(frozen=True)
class Section:
    """A titled part of the page: a sentence on what it shows, with n and settings, and what it shows."""

    title: str
    note: str
    blocks: Sequence[Block]


def render_page(
    title: str, note: str, figures: Mapping[str, str], sections: Sequence[Section], warning: str | None = None
) -> str:
    """The page as one string.

    Args:
        title: heading of the page.
        note: a sentence under it.
        figures: headline figures, what is measured → its value.
        sections: the parts, in order.
        warning: stands above all, if any.
    """
    environment = Environment(
        loader=PackageLoader("dmd.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["kind"] = lambda block: type(block).__name__.lower()
    environment.filters["drawn"] = Markup  # SVG that `dmd.report.curves` made: the one thing that is not escaped
    template = environment.get_template("report.html")
    return template.render(title=title, note=note, figures=figures, sections=sections, warning=warning)


def format_number(value: object) -> str:
    """Numbers to four significant digits, whole ones whole; nothing for NaN and None."""
    if value is None or value is pd.NA or value != value:
        return ""
    if isinstance(value, float):
        return f"{value:.0f}" if value.is_integer() and abs(value) >= 1 else f"{value:.4g}"
    return str(value)
