"""The figures of an ablation as SVG: values and paired differences of every arm, and learning curves beside the base.

The home of matplotlib. It is loaded only where a page is written.
"""

import io
import math
import re
import textwrap
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxlm.ablate.record import Record
from jaxlm.ablate.report.curves import Curve, Point, average, finite, thin
from jaxlm.ablate.report.formats import TableData, printable
from jaxlm.ablate.report.statistics import is_finite

Records = Mapping[tuple[str, int], Record]

# Okabe and Ito 2008, Color Universal Design. Ink stands for the colour of the page's text, light on dark or dark on
# light; the style of the page may brighten blue and red on dark, and grey can be read on both.
INK, BLUE, RED, GREY = "#010203", "#0072b2", "#d55e00", "#808080"
ON_PAGE = {INK: "currentColor", BLUE: f"var(--blue, {BLUE})", RED: f"var(--red, {RED})"}
STYLE: Any = {
    "svg.fonttype": "none",  # text stays text, to be searched and read out
    "svg.hashsalt": "jaxlm",  # ids without a random part
    "text.parse_math": False,  # a name with dollars is a name
    "font.size": 8.5,
    "axes.titlesize": 8.5,
    "axes.labelsize": 8.5,
    "figure.labelsize": 8.5,
    "axes.titlelocation": "left",
    "axes.formatter.useoffset": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.15,
    "legend.frameon": False,
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK),
    "grid.color": INK,
}
WIDTH = 9.0  # inches
COLUMNS = 3  # of learning curves


def render(table: TableData, records: Records, cells: Mapping[tuple[str, int], str]) -> dict[str, str]:
    """Return the figures as SVG elements by name, a function of the arguments alone, whatever matplotlibrc says.

    Args:
        table: What `ablation_table` returned.
        records: The record of every cell, by arm and seed.
        cells: The id of the section of every cell on the page, which its dots link to.
    """
    with warnings.catch_warnings(), matplotlib.rc_context():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # the reader's browser has other fonts
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        figures = {"arms": draw_arms(table, cells), "curves": draw_curves(table, records)}
        return {name: _svg(figure, name) for name, figure in figures.items()}


def _svg(figure: Figure, name: str) -> str:
    """Return the SVG element of a figure, with ids of its own and the colours of the page."""
    out = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(out, format="svg", transparent=True, metadata=nothing)

    def adapt(tag: re.Match[str]) -> str:
        own = re.sub(r'( id="|url\(#|<use xlink:href="#)', rf"\1{name}-", tag[0])
        return re.sub("|".join(ON_PAGE), lambda colour: ON_PAGE[colour[0]], own)

    return re.sub(r"<[^>]*>", adapt, out.getvalue()[out.getvalue().index("<svg") :])


def draw_arms(table: TableData, cells: Mapping[tuple[str, int], str]) -> Figure:
    """Draw the values of every arm, and beside them the paired differences from the base.

    Each row has a dot for each seed, at the same height in every arm, and below the dots the mean with its 95 %
    t-interval. Differences that are significant are blue.
    """
    arms, metric = table["arms"], printable(table["metric"])
    figure = Figure((WIDTH, 0.55 * len(arms) + 0.7), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    values = np.array([row["values"] for row in arms], np.float64)  # None becomes NaN, which is not drawn
    means = np.array([[row["mean"], row["low"], row["high"]] for row in arms], np.float64)
    compared = [row.get("against_base", {}) for row in arms]
    differences = [[found.get(name) for name in ("difference", "low", "high")] for found in compared]
    pairs = np.where(np.arange(len(arms))[:, None] > 0, values - values[:1], np.nan)
    colours = [INK, *(BLUE if found["significant"] else GREY for found in compared[1:])]
    links = [[f"#{cells[row['name'], seed]}" for seed in table["seeds"]] for row in arms]
    _draw_rows(left, values, means, means[0, 0], colours, links)
    _draw_rows(right, pairs, np.array(differences, np.float64), 0.0, colours, links)
    left.set_yticks(range(len(arms)), [_label(row["name"], 26) + _failures(row) for row in arms])
    left.set(ylim=(len(arms) - 0.5, -0.5), xlabel=metric)
    right.set_xlabel(f"{metric}, arm minus base")
    return figure


def _draw_rows(
    axes: Axes,
    values: np.ndarray,
    means: np.ndarray,
    reference: float,
    colours: Sequence[str],
    links: Sequence[Sequence[str]],
) -> None:
    """Draw dots that link to their cells, below them means with intervals, and a dashed line at a reference.

    Args:
        axes: Where to draw, one row at each of 0, 1, ...
        values: float64 [rows, seeds].
        means: float64 [rows, 3]: mean and ends of the interval.
        reference: Where the line is; NaN for no line.
        colours: Of each row.
        links: Of each value.
    """
    heights = np.linspace(-0.28, 0.08, values.shape[1])
    for row, (mean, low, high) in enumerate(means):
        axes.scatter(values[row], row + heights, 22, colours[row], alpha=0.6, linewidths=0, urls=links[row])
        ends = [[mean - low], [high - mean]]
        axes.errorbar(mean, row + 0.28, xerr=ends, fmt="D", color=colours[row], markersize=5, capsize=3.5)
    if is_finite(reference):
        axes.axvline(reference, color=INK, linewidth=1, dashes=(4, 3))
    axes.set_xlim(limits([*values.flat, *means[:, 0], reference], means[:, 1:].flat))
    axes.tick_params("y", length=0)
    axes.grid(visible=False, axis="y")


def draw_curves(table: TableData, records: Records) -> Figure:
    """Draw a panel for each arm: its mean over the seeds by update, and that of the base, with 95 % t-intervals.

    Cells that failed are dotted lines up to a cross, which is at the edge where the curve ends beyond it.
    """
    base, *others = table["arms"]
    rows, columns = math.ceil(len(others) / COLUMNS), min(COLUMNS, len(others))
    figure = Figure((WIDTH, 2.4 * rows + 0.7), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flat
    curves = {row["name"]: _curves(row, table, records) for row in table["arms"]}
    means = [point for mean, _ in curves.values() for point in mean]
    failed = [point for _, lost in curves.values() for curve in lost for point in curve]
    ends = [end for point in means for end in (point.low, point.high)]
    low, high = limits([point.mean for point in means], [*ends, *(value for _, value in failed)])
    span = limits([0, *(point.update for point in means), *(update for update, _ in failed)], [])
    for index, (row, axes) in enumerate(zip(others, panels, strict=False)):
        axes.set(title=_label(row["name"], 34) + _failures(row), xlim=span, ylim=(low, high))
        axes.tick_params(labelleft=index % columns == 0, labelbottom=index + columns >= len(others))
        for name, colour, fault in ((base["name"], INK, INK), (row["name"], BLUE, RED)):
            mean, lost = curves[name]
            points = np.array([astuple(point) for point in mean], np.float64).reshape(-1, 5)
            axes.plot(points[:, 0], points[:, 2], "-o", color=colour, markersize=3.5, markevery=[-1] * bool(mean))
            axes.fill_between(points[:, 0], points[:, 3], points[:, 4], color=colour, alpha=0.18, linewidth=0)
            for curve in lost:
                axes.plot(*zip(*curve, strict=True), ":", color=fault, linewidth=1)
                update, value = curve[-1]
                axes.plot(update, np.clip(value, low, high), "x", color=fault, markersize=6, clip_on=False)
    for axes in panels[len(others) :]:
        axes.remove()
    figure.supxlabel("update")
    figure.supylabel(printable(table["metric"]))
    looks = [("base", INK, "-"), ("arm", BLUE, "-"), ("cell that failed", RED, ":x")][: 3 if failed else 2]
    keys = [panels[0].plot([], [], look, color=colour, label=name)[0] for name, colour, look in looks]
    figure.legend(handles=keys, loc="outside upper right", ncols=len(keys))
    return figure


def _curves(row: Mapping[str, Any], table: TableData, records: Records) -> tuple[Sequence[Point], list[Curve]]:
    """Return the mean learning curve of an arm's cells that ended, and the curves of those that failed and have one."""
    failed = [cell["seed"] for cell in row["failed"]]
    curves = {seed: finite(records[row["name"], seed]["curves"].get(table["metric"], [])) for seed in table["seeds"]}
    ended = [curve for seed, curve in curves.items() if seed not in failed]
    return thin(average(ended)), [thin(curves[seed]) for seed in failed if curves[seed]]


def limits(values: Iterable[float | None], ends: Iterable[float | None]) -> tuple[float, float]:
    """Return the limits of an axis: all values, ends of intervals as far as the values' span beyond them, a margin.

    A t-interval of two seeds is nine times as wide as the two values are apart, and would leave no room to tell them
    apart; what reaches further is cut. None and NaN are left out.
    """
    far = [end for end in ends if is_finite(end)]
    near = [value for value in values if is_finite(value)] or far or [0.0]
    low, high = min(near), max(near)
    span = (high - low) or math.inf
    low, high = max(min([low, *far]), low - span), min(max([high, *far]), high + span)
    margin = (high - low) * 0.04 or abs(high) * 0.1 or 1.0
    return low - margin, high + margin


def _label(name: str, width: int) -> str:
    """Return a name in at most two lines."""
    return "\n".join(textwrap.wrap(printable(name), width, max_lines=2, placeholder=" …"))


def _failures(row: Mapping[str, Any]) -> str:
    return f"\n({len(row['failed'])} failed)" if row["failed"] else ""
