"""Curves as SVG that takes its ink from the page around it, so that light and dark pages show the same file."""

import io
import re
from collections.abc import Mapping
from itertools import cycle
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dmd.report.tables import steps_in_words, with_spacing

LOSSES = {
    "distribution_matching": "distribution matching",
    "regression": "regression",
    "fake": "fake score",
}
"""Columns of losses.csv and their titles."""

HEALTH = {
    "gradient norm at the images": {
        "grad_norm_distribution_matching": "distribution matching",
        "grad_norm_adversarial": "adversarial",
        "grad_norm_regression": "regression",
    },
    "gradient of matching, by the noise it is seen through": {
        "matching_low_noise": "low",
        "matching_middle_noise": "middle",
        "matching_high_noise": "high",
    },
    "do the critics keep up?": {
        "fake_lag": "fake score's loss, over a teacher's on its own images",
        "discriminator_accuracy": "discriminator's accuracy",
    },
    "generated images against the pairs'": {
        "mean_difference": "mean, difference",
        "deviation_difference": "standard deviation, difference",
        "variety": "variety, ratio",
    },
    "share of clipped updates": {"clipped_generator": "generator", "clipped_fake": "fake score"},
}
"""Columns of health.csv and their titles, by the title of the curve; a method has those that it has a use for."""

COLOURS = ("#4f86c6", "#d07a3c", "#4f9d69", "#a06cb5", "#b3923a", "#5b9aa8")
"""Of lines; each stands out on white and on near-black."""

LINES: list[dict[str, Any]] = [
    {"color": colour, "linestyle": style} for style in ("-", "--", ":") for colour in COLOURS
]
"""Of many lines in one picture."""

FEW = 10
"""Rows, below which each is marked with a point: a line needs two."""

INK = "#010203"
"""What is drawn in it takes the page's own colour of text."""

STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.15,
    "grid.linewidth": 0.8,
    "axes.linewidth": 0.6,
    "axes.titlesize": 9,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "path.simplify_threshold": 0.6,
    **dict.fromkeys(
        ("text.color", "axes.edgecolor", "axes.labelcolor", "axes.titlecolor", "grid.color", "xtick.color"), INK
    ),
    "ytick.color": INK,
}


def epoch_spans(steps: int, epoch: float) -> dict[str, slice]:
    """Rows of the first and of the last whole epoch of `epoch` updates each, by title; one span if there is but one."""
    size = max(1, min(round(epoch), steps))
    last = max(steps // size - 1, 0)
    spans = {"first epoch": slice(0, size), f"epoch {last + 1}": slice(last * size, (last + 1) * size)}
    return spans if last else {"first epoch": spans["first epoch"]}


@mpl.rc_context(STYLE)
def losses_curves(losses: pd.DataFrame, epoch: float) -> dict[str, str]:
    """The three losses over the whole run, then in its first and last whole epoch on one scale: title → SVG.

    `losses` has a column `step` and those of `LOSSES`; an epoch is `epoch` updates.
    """
    spans = epoch_spans(len(losses), epoch)
    parts = {title: losses.iloc[rows] for title, rows in spans.items()}
    limits = {name: _limits(pd.concat([part[name] for part in parts.values()])) for name in LOSSES}
    whole = to_svg(_stacked(losses, {}))
    return {"whole run": whole} | {title: to_svg(_stacked(part, limits)) for title, part in parts.items()}


@mpl.rc_context(STYLE)
def losses_png(losses: pd.DataFrame) -> bytes:
    """The three losses over the whole run as a PNG file on white; equal losses give equal bytes."""
    content = io.BytesIO()
    _stacked(losses, {}).savefig(content, format="png", dpi=120, facecolor="white", metadata={"Software": None})
    return content.getvalue()


@mpl.rc_context(STYLE)
def health_curves(health: pd.DataFrame) -> dict[str, str]:
    """The table of health.csv: gradients, critics, drift and variety, clipping, where it has them; title → SVG."""
    curves = {}
    for title, group in HEALTH.items():
        columns = {name: label for name, label in group.items() if name in health and health[name].notna().any()}
        if not columns:
            continue
        figure, (axis,) = _figure()
        for colour, (name, label) in zip(COLOURS, columns.items(), strict=False):
            marker = "." if health[name].isna().any() else ""  # a value between two gaps is no line
            axis.plot(health["step"], health[name], marker=marker, color=colour, label=label, linewidth=1.2)
        if title.startswith("gradient"):
            axis.set_yscale("symlog", linthresh=max(health[list(columns)].abs().max().max() / 1e3, 1e-12))
        axis.set_xlabel("generator update")
        figure.legend(loc="outside upper left", ncols=2)
        curves[title] = to_svg(figure)
    return curves


@mpl.rc_context(STYLE)
def snapshot_curves(curve: pd.DataFrame, distance: str) -> dict[str, str]:
    """The distance of the averaged generator over its updates: title → SVG."""
    figure, (axis,) = _figure()
    axis.plot(curve["step"], curve[distance], ".-", color=COLOURS[0], linewidth=1.2)
    axis.set_yscale("log")
    axis.set_xlabel("generator update")
    axis.set_ylabel(distance)
    return {"distance over updates": to_svg(figure)}


@mpl.rc_context(STYLE)
def steps_curves(steps: pd.DataFrame, distance: str) -> dict[str, str]:
    """Distance over network calls and over seconds an image, both axes logarithmic: title → SVG.

    `steps` is `dmd.report.tables.steps_table`: one line for each of the teacher's solvers, guidance scales and numbers
    of samples; one mark for each student.
    """
    axes = {"nfe": "network calls an image", "seconds_per_image": "seconds an image"}
    curves = {}
    for column, label in axes.items():
        figure, (axis,) = _figure(height=4.2)
        teacher = steps[steps["model"] == "teacher"].sort_values(column)
        groups = teacher.groupby(["solver", "guidance_scale", "num_samples"], sort=True)
        for line, ((solver, scale, samples), rows) in zip(cycle(LINES), groups, strict=False):
            title = f"{solver}, {scale:g}, {samples:,}"
            axis.plot(rows[column], rows["distance"], marker=".", label=title, linewidth=1, **line)
        for model, (title, marker) in {"student_before": ("before", "s"), "student": ("after", "*")}.items():
            for row in steps[steps["model"] == model].to_dict("records"):
                label_of = f"{steps_in_words(int(row['nfe']))}, {title}, {row['num_samples']:,}"
                axis.plot([row[column]], [row["distance"]], marker, color=INK, markersize=8, label=label_of)
        axis.set(xscale="log", yscale="log", xlabel=label, ylabel=distance)
        what = "solver, guidance, samples a set"
        figure.legend(loc="outside upper left", ncols=2, columnspacing=1, title=what, alignment="left")
        curves[f"distance over {label.removesuffix(' an image')}"] = to_svg(figure)
    return curves


@mpl.rc_context(STYLE)
def exactness_curves(teacher_steps: pd.DataFrame) -> dict[str, str]:
    """Distance to the exact solution, noise by noise, over network calls, both logarithmic: title → SVG.

    `teacher_steps` is the table of `dmd steps`; rows without `rmse_to_exact` are left out.
    """
    figure, (axis,) = _figure(height=3.8)
    rows = with_spacing(teacher_steps).dropna(subset=["rmse_to_exact"]).sort_values("nfe")
    groups = rows.groupby(["solver", "guidance_scale"], sort=True)
    for line, ((solver, scale), found) in zip(cycle(LINES), groups, strict=False):
        label = f"{solver}, guidance {scale:g}"
        axis.plot(found["nfe"], found["rmse_to_exact"], marker=".", label=label, linewidth=1, **line)
    axis.set(xscale="log", yscale="log", xlabel="network calls an image", ylabel="root mean squared difference")
    figure.legend(loc="outside upper left", ncols=2, columnspacing=1)
    return {"distance to the exact solution": to_svg(figure)}


@mpl.rc_context(STYLE)
def timesteps_curves(timesteps: pd.DataFrame, distance: str, chosen: int) -> dict[str, str]:
    """Distance of one step before distillation over its timestep, logarithmic; a mark at the chosen one: title → SVG.

    `timesteps` is the table of `dmd timesteps`.
    """
    figure, (axis,) = _figure()
    rows = timesteps.sort_values("generator_timestep")
    axis.plot(rows["generator_timestep"], rows[distance], ".-", color=COLOURS[0], linewidth=1)
    axis.axvline(chosen, color=INK, linewidth=0.8, linestyle=":", label=f"t* = {chosen}")
    axis.set(yscale="log", xlabel="generator timestep t*", ylabel=distance)
    figure.legend(loc="outside upper left")
    return {"one step before distillation": to_svg(figure)}


def to_svg(figure: Figure) -> str:
    """The figure as an `<svg>` element without time or version, in the page's ink; equal figures give equal text."""
    text = io.StringIO()
    salt = "-".join(axis.get_xlabel() + axis.get_ylabel() + axis.get_title() for axis in figure.axes)
    with mpl.rc_context({**STYLE, "svg.hashsalt": salt}):
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    body = text.getvalue()
    body = body[body.index("<svg") :].replace(INK, "currentColor")
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    return re.sub(
        r'(<svg[^>]*?) width="[^"]*"', r"\1", re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", body, count=1), count=1
    )


def _figure(rows: int = 1, height: float = 3.0) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(4.6, height), layout="constrained")
    return figure, list(figure.subplots(rows, 1, sharex=True, squeeze=False)[:, 0])


def _stacked(losses: pd.DataFrame, limits: Mapping[str, tuple[float, float]]) -> Figure:
    figure, axes = _figure(len(LOSSES), 5.2)
    for axis, colour, (name, title) in zip(axes, COLOURS, LOSSES.items(), strict=False):
        mean = losses[name].rolling(max(1, len(losses) // 25), center=True, min_periods=1).mean()
        marker = "." if len(losses) < FEW else ""
        axis.plot(losses["step"], losses[name], marker=marker, color=colour, linewidth=0.6, alpha=0.4)
        axis.plot(losses["step"], mean, color=colour, linewidth=1.4)
        axis.set_title(title, loc="left")
        axis.set_ylim(*limits.get(name, (None, None)))
    axes[-1].set_xlabel("generator update")
    return figure


def _limits(values: pd.Series) -> tuple[float, float]:
    margin = 0.05 * (values.max() - values.min()) or 1e-6
    return values.min() - margin, values.max() + margin
