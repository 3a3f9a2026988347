"""The figures of an ablation as SVG: values by arm, paired differences by arm, learning curves."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree.ElementTree import Element

from jaxlm.ablate.curves import Curve, Point, thin
from jaxlm.ablate.forms import number
from jaxlm.ablate.markup import element

WIDTH, MARGIN = 460.0, 12.0
FONT, CHARACTER = 14, 7.7  # size of the text, and about how wide one character of it is
ROW, AXIS, CURVES = 52.0, 24.0, 260.0  # heights of an arm, of an axis with its labels, and of a frame with curves

# Okabe and Ito 2008, Color Universal Design, without yellow, which cannot be seen on white. The base is in the colour
# of the text. There are five patterns and six colours, so the first thirty arms differ, and neighbours in both.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
DASHES = ("9 3", "2 3", "9 3 2 3", "16 3", "9 3 2 3 2 3")


@dataclass(frozen=True)
class Strip:
    """A row of a figure: the values of an arm by seed, their mean, and the ends of its interval."""

    name: str
    colour: str
    values: Mapping[int, float]
    mean: float | None
    low: float | None
    high: float | None
    failed: int


@dataclass(frozen=True)
class Lines:
    """The learning curves of an arm, see `style`: the mean of the cells that ended, and by seed those that failed."""

    name: str
    line: Mapping[str, str | int]
    mean: Sequence[Point]
    failed: Mapping[int, Curve]


@dataclass(frozen=True)
class Scale:
    """The linear map that takes low to start and high to end."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Where a value is drawn."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def within(self, value: float) -> float:
        """Where a value is drawn, or the end of the axis that is nearest to it."""
        return self(min(max(value, self.low), self.high))


def limits(values: Sequence[float], ends: Sequence[float]) -> tuple[float, float]:
    """The ends of an axis: all values, and the ends of intervals as far as the values' span beyond them, and a margin.

    A t-interval of two seeds is nine times as wide as the two values are apart, and would leave no room to tell them.
    """
    values = values or ends or [0.0]
    low, high = min(values), max(values)
    span = (high - low) or math.inf
    low, high = max(min([low, *ends]), low - span), min(max([high, *ends]), high + span)
    margin = (high - low) * 0.04 or abs(high) * 0.1 or 1.0
    return low - margin, high + margin


def ticks(low: float, high: float) -> list[tuple[float, str]]:
    """The multiples of 1, 2 or 5 times a power of ten in an interval, five or fewer steps apart, with their labels."""
    least = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(least))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least)
    values = [index * step for index in range(math.ceil(low / step), math.floor(high / step) + 1)]
    digit, largest = math.floor(math.log10(step) + 1e-9), max(map(abs, values))
    if digit >= -6 and largest < 1e6:
        return [(value, f"{value:.{max(0, -digit)}f}") for value in values]
    digits = max(0, math.floor(math.log10(largest) + 1e-9) - digit)
    return [(value, f"{value:.{digits}e}") for value in values]


def strip_plot(
    name: str, title: str, told: str, strips: Sequence[Strip], seeds: Sequence[int], reference: float | None
) -> Element:
    """Arm under arm, a dot for each seed, and below the dots the mean and its interval; a line at the reference.

    A seed has the same height in every arm, the first one on top. An interval that the figure cuts has no end mark.
    """
    values = [value for strip in strips for value in (*strip.values.values(), strip.mean) if value is not None]
    ends = [end for strip in strips for end in (strip.low, strip.high) if end is not None]
    low, high = limits([*values, *([] if reference is None else [reference])], ends)
    scale = Scale(low, high, MARGIN, WIDTH - MARGIN)
    bottom = ROW * len(strips) + 4
    parts = [_vertical(scale(value), bottom, 0.15, class_="tick") for value, _ in ticks(low, high)]
    if reference is not None:
        parts.append(_vertical(scale(reference), bottom, 1.0, stroke_dasharray="5 4", class_="reference"))
    for index, strip in enumerate(strips):
        parts.append(_strip(strip, ROW * index, scale, seeds))
    labels = [_text(scale(value), bottom + 16, label, "middle") for value, label in ticks(low, high)]
    return _figure(name, title, told, bottom + AXIS, [*parts, *labels])


def _strip(strip: Strip, top: float, scale: Scale, seeds: Sequence[int]) -> Element:
    parts = [_text(MARGIN, top + 15, _short(strip.name, _failures(strip)), full=strip.name)]
    for index, seed in enumerate(seeds):
        if (value := strip.values.get(seed)) is not None:
            middle = top + 22 + 16 * (index + 0.5) / len(seeds)
            told = element("title", f"{strip.name}, seed {seed}: {number(value)}")
            place = {"cx": scale(value), "cy": middle, "r": 4}
            parts.append(element("circle", told, **place, fill_opacity="0.75", stroke="none", class_="seed"))
    if strip.low is not None and strip.high is not None:
        line: dict[str, Any] = {"stroke_width": 2, "stroke": strip.colour}
        parts.append(_line(scale.within(strip.low), top + 45, scale.within(strip.high), top + 45, **line))
        inside = [end for end in (strip.low, strip.high) if scale.low <= end <= scale.high]
        parts += [_line(scale(end), top + 41, scale(end), top + 49, **line, class_="end") for end in inside]
    if strip.mean is not None:
        x = scale(strip.mean)
        shape = f"M{x - 5:.2f},{top + 45:.2f} l5,-5 l5,5 l-5,5 z"
        parts.append(element("path", element("title", f"{strip.name}, mean: {number(strip.mean)}"), d=shape))
    return element("g", *parts, fill=strip.colour, stroke=strip.colour, class_="arm")


def _failures(strip: Strip) -> str:
    failed = f", {strip.failed} failed" * bool(strip.failed)
    return failed if strip.values else f": no value{failed}"


def curve_plot(name: str, title: str, told: str, arms: Sequence[Lines]) -> Element:
    """The mean of each arm by update with a band for its interval, cells that failed dashed up to a cross; a legend."""
    points = [point for arm in arms for point in arm.mean]
    failed = [point for arm in arms for curve in arm.failed.values() for point in curve]
    ends = [end for point in points for end in (point.low, point.high) if end is not None]
    low, high = limits([point.mean for point in points], [*ends, *(value for _, value in failed)])
    updates = [point.update for point in points] + [update for update, _ in failed] or [0]
    marks = ticks(low, high)
    left = 2 * MARGIN + CHARACTER * max(len(label) for _, label in marks)
    x = Scale(min(0, *updates), max(1, *updates), left, WIDTH - 2 * MARGIN)
    y = Scale(low, high, CURVES, 8.0)
    parts = [_line(left, y(value), x.end, y(value), 0.15, class_="tick") for value, _ in marks]
    parts += [_text(left - 8, y(value) + 5, label, "end") for value, label in marks]
    for value, label in ticks(x.low, x.high):
        parts += [_line(x(value), y.start, x(value), y.start + 5), _text(x(value), y.start + 19, label, "middle")]
    frame = element("rect", x=left, y=y.end, width=x.end - left, height=y.start - y.end)
    parts.append(element("clipPath", frame, id=f"{name}-frame"))
    parts.append(_line(left, y.start, x.end, y.start))
    parts += [_lines(arm, x, y, f"url(#{name}-frame)") for arm in arms]
    parts.append(_text((left + x.end) / 2, y.start + 38, "update", "middle"))
    for index, arm in enumerate(arms):
        parts += _legend(arm, CURVES + 62 + 20 * index)
    return _figure(name, title, told, CURVES + 56 + 20 * len(arms), parts)


def style(index: int) -> dict[str, str | int]:
    """Colour, dashes and width of the line of an arm; the base is number 0."""
    if index == 0:
        return {"stroke": "currentColor", "stroke_dasharray": "none", "stroke_width": 3}
    colour, dash = COLOURS[(index - 1) % len(COLOURS)], DASHES[(index - 1) % len(DASHES)]
    return {"stroke": colour, "stroke_dasharray": dash, "stroke_width": 2}


def _lines(arm: Lines, x: Scale, y: Scale, frame: str) -> Element:
    points, parts, colour = thin(arm.mean), [], arm.line["stroke"]
    band = [point for point in points if point.low is not None]
    if band:
        edge = [(x(point.update), y(point.high or 0.0)) for point in band]
        edge += [(x(point.update), y(point.low or 0.0)) for point in reversed(band)]
        parts.append(element("polygon", points=_path(edge), fill=colour, fill_opacity="0.15", clip_path=frame))
    if points:
        middle = [(x(point.update), y(point.mean)) for point in points]
        parts.append(element("polyline", points=_path(middle), fill="none", clip_path=frame, class_="mean", **arm.line))
        parts.append(element("circle", cx=middle[-1][0], cy=middle[-1][1], r=3.5, fill=colour))
    for seed, curve in arm.failed.items():
        if curve:
            places = [(x(update), y(value)) for update, value in thin(curve)]
            told = element("title", f"{arm.name}, seed {seed}, failed")
            line = element("polyline", points=_path(places), stroke_dasharray="4 4", clip_path=frame)
            cross = _cross(places[-1][0], y.within(curve[-1][1]))
            parts.append(element("g", told, line, cross, fill="none", stroke=colour, class_="failed"))
    return element("g", *parts, class_="arm")


def _cross(x: float, y: float) -> Element:
    return element("path", d=f"M{x - 4:.2f},{y - 4:.2f} l8,8 m0,-8 l-8,8", stroke_width=2)


def _legend(arm: Lines, height: float) -> list[Element]:
    said = "" if arm.mean else ": only failed cells" if any(arm.failed.values()) else ": no value"
    label = _text(MARGIN + 56, height + 5, _short(arm.name, said, WIDTH - 56), full=arm.name)
    return [_line(MARGIN, height, MARGIN + 46, height, 1.0, **arm.line), label]


def _path(places: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{right:.2f},{down:.2f}" for right, down in places)


def _short(name: str, said: str, width: float = WIDTH) -> str:
    """A name and what is said of it, the name cut to what fits a width."""
    room = max(8, int((width - 2 * MARGIN) / CHARACTER) - len(said))
    return (name if len(name) <= room else name[: room - 1] + "…") + said


def _text(x: float, y: float, text: str, anchor: str = "start", full: str | None = None) -> Element:
    made = element("text", text, x=x, y=y, text_anchor=anchor, fill="currentColor", stroke="none")
    if full is not None and not text.startswith(full):
        made.append(element("title", full))
    return made


def _line(x1: float, y1: float, x2: float, y2: float, opacity: float = 1.0, **more: Any) -> Element:
    more = {"stroke": "currentColor", **more}
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, stroke_opacity=opacity, **more)


def _vertical(x: float, bottom: float, opacity: float, **more: Any) -> Element:
    return _line(x, 0.0, x, bottom, opacity, **more)


def _figure(name: str, title: str, told: str, height: float, parts: Sequence[Element]) -> Element:
    return element(
        "svg",
        element("title", title, id=f"{name}-title"),
        element("desc", told, id=f"{name}-desc"),
        *parts,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {WIDTH:.0f} {height:.0f}",
        role="img",
        aria_labelledby=f"{name}-title {name}-desc",
        font_size=FONT,
        font_family="system-ui, sans-serif",
    )
