"""One self-contained HTML page: pictures as data URIs, no scripts, no network, light and dark, narrow and wide."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template

import pandas as pd

PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>$title</title>
<style>
:root { color-scheme: light dark; --ink: #1c1f23; --soft: #667080; --line: #d9dee5; --plate: #f4f6f8; --page: #fff; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e9ed; --soft: #9aa4b2; --line: #363c45; --plate: #20242a; --page: #15181c; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 72rem; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 0 0 .5rem; }
h2 { font-size: 1.1rem; margin: 0 0 .5rem; }
p { color: var(--soft); margin: 0 0 1rem; }
dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(10rem, 1fr)); gap: .75rem; margin: 1rem 0 2rem; }
dl div { background: var(--plate); border-radius: .5rem; padding: .75rem 1rem; display: flex;
  flex-direction: column-reverse; }
dt { color: var(--soft); font-size: .85rem; }
dd { margin: 0; font-size: 1.6rem; font-weight: 600; font-variant-numeric: tabular-nums; }
main { display: grid; grid-template-columns: repeat(6, minmax(0, 1fr)); gap: 2rem 1.25rem; }
section { grid-column: span 6; min-width: 0; }
section.third { grid-column: span 2; }
img { display: block; max-width: 100%; height: auto; border-radius: .35rem; background: #fff; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .75rem .3rem 0; border-bottom: 1px solid var(--line); text-align: left;
  overflow-wrap: anywhere; }
thead th { color: var(--soft); font-weight: 500; white-space: nowrap; }
tbody th { font-weight: 500; white-space: nowrap; }
summary { cursor: pointer; font-weight: 600; }
pre { overflow-x: auto; background: var(--plate); border-radius: .5rem; padding: 1rem; font-size: .8rem; }
@media (max-width: 46rem) { section.third { grid-column: span 6; } }
</style>
</head>
<body>
<h1>$title</h1>
<p>$note</p>
<dl>
$figures
</dl>
<main>
$sections
</main>
</body>
</html>
""")


@dataclass(frozen=True)
class Section:
    """A titled part of the page: a table, a picture, or a text that can be unfolded; a section of none is left out."""

    title: str
    table: pd.DataFrame | None = None
    picture: Path | None = None
    text: str | None = None
    third: bool = False
    """On wide screens, a third of the page's width."""


def render_page(title: str, note: str, figures: Mapping[str, str], sections: Sequence[Section]) -> str:
    """The page as one string.

    Args:
        title: heading of the page.
        note: a sentence under it.
        figures: headline figures, what is measured → its value.
        sections: the parts, in order.
    """
    cells = [f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in figures.items()]
    return PAGE.substitute(
        title=escape(title),
        note=escape(note),
        figures="\n".join(cells),
        sections="\n".join(filter(None, map(_section, sections))),
    )


def format_number(value: object) -> str:
    """Numbers to four significant digits, whole ones whole; nothing for NaN and None."""
    if value is None or value != value:
        return ""
    if isinstance(value, float):
        return f"{value:.0f}" if value.is_integer() and abs(value) >= 1 else f"{value:.4g}"
    return str(value)


def _section(section: Section) -> str:
    title = escape(section.title)
    if section.picture is not None:
        data = base64.b64encode(section.picture.read_bytes()).decode("ascii")
        body = f'<img src="data:image/png;base64,{data}" alt="{title}">'
    elif section.table is not None and len(section.table):
        formatted = section.table.map(format_number)
        has_names = list(formatted.columns) != ["value"]
        formatted.columns = [str(name).replace("_", " ") for name in formatted.columns]
        body = f'<div class="scroll">{formatted.to_html(border=0, header=has_names, justify="left")}</div>'
    elif section.text:
        return f"<section><details><summary>{title}</summary><pre>{escape(section.text)}</pre></details></section>"
    else:
        return ""
    width = ' class="third"' if section.third else ""
    return f"<section{width}><h2>{title}</h2>{body}</section>"
