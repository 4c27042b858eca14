"""Pictures of a comparison of methods: distance over network passes, and distance over class accuracy."""

import textwrap
from collections.abc import Iterable, Iterator, Mapping
from itertools import cycle
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from dmd.report.curves import INK, LINES, STYLE, to_svg
from dmd.report.tables import with_spacing
from tools.method_tables import table_distance
from tools.teacher_tables import ENOUGH

FAR, WRONG = 1.5, 0.02
"""Students above so many times the teacher's largest distance, or so far left of its curves, are named in the title."""

SIZE = (7.2, 5.6)

PLACES = [(x, y) for far in (7, 14, 28, 42, 56) for y in (0, far, -far) for x in (far, -far)]
"""Where a name may stand beside its point, in points of print; those on the left end there. The first that is free."""

NEAR = 6
"""So many of the places need no line to the point."""

PRINT = 8
"""Size of the names."""


@mpl.rc_context(STYLE)
def passes_picture(curves: pd.DataFrame) -> str:
    """An SVG of the distance over network passes: a line a recipe, the mean over its seeds, named by rank at the end.

    `curves` is the table that `dmd methods` writes beside its own.
    """
    distance = table_distance(curves)
    figure = Figure(figsize=SIZE, layout="constrained")
    axis = figure.subplots()
    means = curves.groupby(["recipe", "network_passes"], as_index=False)[distance].mean()
    lines = {str(name): rows for name, rows in means.groupby("recipe")}
    styles = recipe_styles(lines)
    for name, rows in sorted(lines.items(), key=lambda item: -item[1][distance].iloc[-1]):
        axis.plot(rows["network_passes"] / 1e3, rows[distance], marker=".", label=name, linewidth=1.2, **styles[name])
    axis.set(yscale="log", xlabel="network passes, thousands", ylabel=distance)
    axis.yaxis.set_major_formatter("{x:g}")
    figure.legend(loc="outside right upper")
    return to_svg(figure)


@mpl.rc_context(STYLE)
def guidance_picture(
    teacher_steps: pd.DataFrame,
    methods: pd.DataFrame,
    alphas: pd.DataFrame,
    runs: Mapping[str, Mapping[str, Any]],
    test: Mapping[str, Any],
) -> str:
    """An SVG of the distance over class accuracy: under the teacher's curve a student beats its teacher.

    Args:
        teacher_steps: the table of `dmd steps`; its rows of enough samples are the curves, one for each solver and
            number of steps, each point named by its guidance scale.
        methods: the table of `dmd methods`; a point each recipe, the mean over its seeds.
        alphas: a table of `dmd sweep`, of whole runs over alpha; a square each row.
        runs: scores of the students of whole runs by name: larger points.
        test: scores of the real test images: a star.
    """
    distance = table_distance(methods)
    figure = Figure(figsize=SIZE, layout="constrained")
    axis = figure.subplots()
    names = _draw_teacher(axis, teacher_steps[teacher_steps["num_samples"] >= ENOUGH], distance)
    found = methods.groupby("recipe")[["class_accuracy", distance]].mean()
    far = (found[distance] > FAR * axis.dataLim.y1) | (found["class_accuracy"] < axis.dataLim.x0 - WRONG)
    beyond = [f"{name} ({row[distance]:.3g}, {row['class_accuracy']:.2g})" for name, row in found[far].iterrows()]
    if beyond:
        axis.set_title(textwrap.fill(f"beyond the picture: {', '.join(beyond)}", 90), loc="left")
    for name, row in found[~far].iterrows():
        colour = recipe_styles(found.index)[str(name)]["color"]
        names.append(_draw_point(axis, row.to_dict(), distance, str(name), color=colour, marker="o", markersize=5))
    for name, row, style in _whole_runs(alphas, runs, test):
        names.append(_draw_point(axis, row, distance, name, color=INK, **style))
    axis.set(yscale="log", xlabel="class accuracy", ylabel=distance)
    for place in (axis.yaxis.set_major_formatter, axis.yaxis.set_minor_formatter):
        place("{x:g}")
    figure.legend(loc="outside upper left", ncols=3)
    _write_names(figure, axis, names)
    return to_svg(figure)


def recipe_styles(names: Iterable[Any]) -> dict[str, dict[str, Any]]:
    """The colour and the kind of line of each recipe: the same in both pictures of the same recipes."""
    return {str(name): LINES[k % len(LINES)] for k, name in enumerate(sorted(names))}


Named = tuple[tuple[float, float], str, str]
"""A point, what is written beside it, and the colour."""


def _draw_teacher(axis: Axes, rows: pd.DataFrame, distance: str) -> list[Named]:
    """The teacher's curves over guidance, in ink; the scales are named along the longest."""
    names: list[Named] = []
    groups = with_spacing(rows).groupby(["num_steps", "solver"], sort=True)
    for style, ((steps, solver), group) in zip(cycle(("-", "--", ":", "-.")), groups, strict=False):
        curve = group.groupby("guidance_scale")[["class_accuracy", distance]].mean()
        label = f"teacher, {solver}, {steps} steps"
        line: dict[str, Any] = {"color": INK, "linestyle": style, "linewidth": 1, "markersize": 5}
        axis.plot(curve["class_accuracy"], curve[distance], marker=".", label=label, **line)
        points = [((accuracy, value), f"{scale:g}", INK) for scale, accuracy, value in curve.itertuples(name=None)]
        names = max(names, points, key=len)
    return names


def _whole_runs(
    alphas: pd.DataFrame, runs: Mapping[str, Mapping[str, Any]], test: Mapping[str, Any]
) -> Iterator[tuple[str, Mapping[Any, Any], dict[str, Any]]]:
    """Name, scores and marker of each."""
    for row in alphas.to_dict("records"):
        yield str(row["changes"]), row, {"marker": "s", "markersize": 4}
    for name, run in runs.items():
        yield name, run, {"marker": "o", "markersize": 9}
    yield "real test images", test, {"marker": "*", "markersize": 11}


def _draw_point(axis: Axes, scores: Mapping[Any, Any], distance: str, name: str, **style: Any) -> Named:
    point = (scores["class_accuracy"], scores[distance])
    axis.plot(*point, **style)
    return point, name, style["color"]


def _write_names(figure: Figure, axis: Axes, names: list[Named]) -> None:
    """Write each name beside its point, where it is free of lines, points and the names before, if it can be.

    A thin line leads to one that stands apart.
    """
    figure.draw_without_rendering()
    paths = [line.get_transform().transform_path(line.get_path()).interpolated(25) for line in axis.get_lines()]
    taken = [Bbox.from_bounds(x - 3, y - 3, 6, 6) for path in paths for x, y in np.asarray(path.vertices)]
    for point, name, colour in names:
        boxes = _boxes(axis, point, name, figure.dpi / 72)
        inside = [axis.bbox.count_contains(box.corners()) == 4 for box in boxes]
        kept = next((k for k, box in enumerate(boxes) if inside[k] and not box.count_overlaps(taken)), 0)
        taken.append(boxes[kept])
        leader = {"arrowstyle": "-", "linewidth": 0.5, "color": colour} if kept >= NEAR else None
        style: dict[str, Any] = {"fontsize": PRINT, "color": colour, "va": "center"}
        style["ha"] = "left" if PLACES[kept][0] > 0 else "right"
        axis.annotate(name, point, PLACES[kept], textcoords="offset points", arrowprops=leader, **style)


def _boxes(axis: Axes, point: tuple[float, float], name: str, scale: float) -> list[Bbox]:
    """What a name takes up at each of the places beside its point, with `scale` pixels to the point of print."""
    text = axis.text(*point, name, fontsize=PRINT)
    size = text.get_window_extent()
    text.remove()
    x, y = axis.transData.transform(point)
    left = [x + scale * place[0] - (size.width if place[0] < 0 else 0) for place in PLACES]
    bottom = [y + scale * place[1] - size.height / 2 for place in PLACES]
    return [Bbox.from_bounds(*corner, size.width, size.height) for corner in zip(left, bottom, strict=True)]
