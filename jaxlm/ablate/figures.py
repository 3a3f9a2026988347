"""The three figures of an ablation's page, from the table and the records: values, paired differences, curves."""

from collections.abc import Mapping
from xml.etree.ElementTree import Element

from jaxlm.ablate.curves import MOST_DRAWN, average, finite
from jaxlm.ablate.forms import Table, number
from jaxlm.ablate.markup import element
from jaxlm.ablate.plots import Lines, Strip, curve_plot, strip_plot, style
from jaxlm.ablate.record import Record

DOTS = "A dot is a seed, at the same height in every arm; the diamond is the mean, with its 95 % t-interval. "
CUT = "An interval that reaches far beyond the values is cut at the edge and has no end mark there."


def figures(table: Table, records: Mapping[tuple[str, int], Record]) -> list[Element]:
    """Each figure with a heading and what its marks mean. records: by arm and seed, one for each cell of the table."""
    metric, seeds, numbers = table["metric"], table["seeds"], range(len(table["arms"]))
    arms = [_values(table, index) for index in numbers]
    pairs = [_differences(table, index) for index in numbers[1:]]
    lines = [_lines(table, records, index) for index in numbers]
    ends = [f"{arm.name}: {number(arm.mean[-1].mean)} at update {arm.mean[-1].update}" for arm in lines if arm.mean]
    titles = (f"{metric} by arm", f"{metric}, arm minus base", f"{metric} by update")
    return [
        _figure(
            strip_plot("values", titles[0], _told(arms), arms, seeds, arms[0].mean),
            titles[0],
            f"{DOTS}The dashed line is the mean of the base. {CUT}",
        ),
        _figure(
            strip_plot("differences", titles[1], _told(pairs), pairs, seeds, 0.0),
            titles[1],
            f"Paired by seed. {DOTS}The dashed line is no difference. {CUT}",
        ),
        _figure(
            curve_plot("curves", titles[2], "; ".join(ends), lines),
            titles[2],
            "The mean of the cells that did not fail and have that update, with its 95 % t-interval. A thin line up to "
            "a cross is a cell that failed. What reaches far beyond the means is cut. "
            f"Of a long curve at most {MOST_DRAWN} points are drawn.",
        ),
    ]


def _figure(svg: Element, title: str, caption: str) -> Element:
    return element("figure", element("h3", title), svg, element("figcaption", caption))


def _values(table: Table, index: int) -> Strip:
    row = table["arms"][index]
    values = {seed: value for seed, value in zip(table["seeds"], row["values"], strict=True) if value is not None}
    return Strip(row["name"], _colour(index), values, row["mean"], row["low"], row["high"], len(row["failed"]))


def _differences(table: Table, index: int) -> Strip:
    row, found = table["arms"][index], table["arms"][index]["against_base"]
    pairs = zip(table["seeds"], row["values"], table["arms"][0]["values"], strict=True)
    values = {seed: one - base for seed, one, base in pairs if one is not None and base is not None}
    ends = found["difference"], found["low"], found["high"]
    return Strip(row["name"], _colour(index), values, *ends, len(row["failed"]))


def _colour(index: int) -> str:
    return str(style(index)["stroke"])


def _told(strips: list[Strip]) -> str:
    return "; ".join(f"{strip.name}: mean {number(strip.mean)}, seeds {len(strip.values)}" for strip in strips)


def _lines(table: Table, records: Mapping[tuple[str, int], Record], index: int) -> Lines:
    row = table["arms"][index]
    failed = [cell["seed"] for cell in row["failed"]]
    curves = {seed: finite(records[row["name"], seed]["curves"].get(table["metric"], [])) for seed in table["seeds"]}
    mean = average([curve for seed, curve in curves.items() if seed not in failed])
    return Lines(row["name"], style(index), mean, {seed: curves[seed] for seed in failed})
