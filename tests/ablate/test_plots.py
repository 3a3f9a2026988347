"""The figures: what is drawn lies where its value says, as read from the labels of the axes."""

import itertools
import math

import numpy as np
import pytest
from pages import ARMS, METRIC, SEEDS, drawings, made_up
from scipy import stats

from jaxlm.ablate.page import page
from jaxlm.ablate.plots import limits, style, ticks

FAILING = [ARMS[0], ARMS[2]]


def axis(svg, place, anchor):
    """The linear map from a value to a place, from the labels of an axis."""
    labels = [text for text in svg.findall("text") if text.get("text-anchor") == anchor and text.text != "update"]
    lines = svg.findall("line[@class='tick']")
    values, places = [float(label.text) for label in labels], [float(line.get(f"{place}1")) for line in lines]
    slope, intercept = np.polyfit(values, places, 1)
    np.testing.assert_allclose(np.polyval((slope, intercept), values), places, atol=0.02)
    return lambda value: slope * value + intercept


def points(item):
    return [tuple(map(float, pair.split(","))) for pair in item.get("points").split()]


@pytest.mark.parametrize("name", ["values", "differences"])
def test_dots_means_and_intervals_lie_at_their_values(name):
    table, records = made_up()
    svg = drawings(page(table, records, ()))[name]
    x, base = axis(svg, "x", "middle"), table["arms"][0]["values"]
    (reference,) = svg.findall("line[@class='reference']")
    shown = table["arms"] if name == "values" else table["arms"][1:]
    assert math.isclose(float(reference.get("x1")), x(np.mean(base) if name == "values" else 0), abs_tol=0.05)
    heights = {}
    for row, group in zip(shown, svg.findall("g[@class='arm']"), strict=True):
        pairs = zip(SEEDS, row["values"], base, strict=True)
        values = {seed: one - (other if name == "differences" else 0) for seed, one, other in pairs if one is not None}
        dots = group.findall("circle")
        assert [dot.find("title").text.split(", seed ")[1].split(":")[0] for dot in dots] == [*map(str, values)]
        np.testing.assert_allclose([float(dot.get("cx")) for dot in dots], [*map(x, values.values())], atol=0.05)
        top = float(group.find("text").get("y"))
        for seed, dot in zip(values, dots, strict=True):
            heights.setdefault(seed, set()).add(round(float(dot.get("cy")) - top, 2))
        if len(values) == 4:
            low, high = stats.t.interval(0.95, 3, np.mean([*values.values()]), stats.sem([*values.values()]))
            ends = [float(line.get("x1")) for line in group.findall("line[@class='end']")]
            np.testing.assert_allclose(ends, (x(low), x(high)), atol=0.05)
    assert all(len(found) == 1 for found in heights.values())  # a seed has one height in every arm
    said = ["".join(group.find("text").itertext()) for group in svg.findall("g[@class='arm']")]
    assert said[-2:] == ["diverges, 2 failed", "cannot be built: no value, 4 failed"]


def test_curves_lie_at_their_values_and_failed_cells_are_drawn_dashed_as_far_as_they_go():
    table, records = made_up(FAILING)
    svg = drawings(page(table, records, ()))["curves"]
    y, marks = axis(svg, "y", "end"), [text for text in svg.findall("text") if text.get("text-anchor") == "middle"]
    places = [(int(text.text), float(text.get("x"))) for text in marks if text.text != "update"]
    slope, intercept = np.polyfit(*zip(*places, strict=True), 1)
    arms = svg.findall("g[@class='arm']")
    for arm, group, seeds in (("base", arms[0], SEEDS), ("diverges", arms[1], [3, 5])):
        curves = [records[arm, seed]["curves"][METRIC] for seed in seeds]
        updates, values = [update for update, _ in curves[0]], np.array(curves)[:, :, 1]
        expected = np.stack([slope * np.array(updates) + intercept, y(values.mean(0))], -1)
        np.testing.assert_allclose(points(group.find("polyline[@class='mean']")), expected, atol=0.05)
        low, high = stats.t.interval(0.95, len(seeds) - 1, values.mean(0), stats.sem(values))
        band = np.array(points(group.find("polygon")))[:, 1]
        np.testing.assert_allclose(band, y(np.array([*high, *low[::-1]])), atol=0.05)
    assert arms[0].findall("g[@class='failed']") == []
    failed = arms[1].findall("g[@class='failed']")
    assert [group.find("title").text for group in failed] == ["diverges, seed 4, failed", "diverges, seed 6, failed"]
    for seed, group in zip((4, 6), failed, strict=True):
        curve = [point for point in records["diverges", seed]["curves"][METRIC] if point[1] is not None]
        line = group.find("polyline")
        assert line.get("stroke-dasharray") == "4 4"
        np.testing.assert_allclose(points(line), [(slope * u + intercept, y(v)) for u, v in curve], atol=0.2)
        assert curve[-1] == [6, 50.0]
    assert "t-interval" not in "".join(svg.itertext())


@pytest.mark.parametrize("offset", [0.0, 1.0, -37.5, 1e6])
@pytest.mark.parametrize("span", [3e-7, 0.013, 0.99, 7.0, 2.5e4, 1e30])
def test_ticks_are_round_within_the_axis_and_told_apart(offset, span):
    found = ticks(offset, offset + span)
    values = [value for value, _ in found]
    assert 2 <= len(found) <= 6
    assert all(offset - span * 1e-9 <= value <= offset + span * (1 + 1e-9) for value in values)
    steps = np.diff(values)
    np.testing.assert_allclose(steps, steps[0], rtol=0.1)
    assert round(float(f"{steps[0]:.1e}".split("e")[0]), 1) in (1, 2, 5)
    labels = [label for _, label in found]
    assert len(set(labels)) == len(labels)
    np.testing.assert_allclose([float(label) for label in labels], values, atol=steps[0] / 100)


def test_an_axis_holds_all_values_and_wide_intervals_only_in_part():
    low, high = limits([1.0, 2.0], [0.5, 2.4])
    assert low < 0.5 < 2.4 < high
    low, high = limits([1.0, 2.0], [-50.0, 60.0])
    assert -0.5 < low < 0 < 3 < high < 3.5
    for values, ends in (
        ([], []),
        ([5.0], []),
        ([0.0], []),
        ([5.0], [-9.0, 9.0]),
        ([], [1.0, 2.0]),
        ([-3.0, -3.0], []),
    ):
        low, high = limits(values, ends)
        assert low < min([*values, *ends, math.inf]) or not (values or ends)
        assert max([*values, *ends, -math.inf]) < high
        assert low < high


def test_the_first_thirty_arms_and_the_base_look_different():
    looks = [(style(index)["stroke"], style(index)["stroke_dasharray"]) for index in range(31)]
    assert len(set(looks)) == 31
    assert all(one[0] != other[0] and one[1] != other[1] for one, other in itertools.pairwise(looks))
