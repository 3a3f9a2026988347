"""The figures: what is drawn are the values of the table, with numpy and scipy as the reference."""

import math

import matplotlib
import numpy as np
import pytest
from pages import ARMS, METRIC, SEEDS, made_up
from scipy import stats

from jaxlm.ablate.report.plots import BLUE, GREY, INK, RED, STYLE, draw_arms, draw_curves, limits, render

FAILING = [ARMS[0], ARMS[2]]
COLOURS = {name: matplotlib.colors.to_rgb(name) for name in (INK, BLUE, RED, GREY)}


@pytest.fixture(autouse=True)
def style():
    with matplotlib.rc_context(STYLE):
        yield


def links(records):
    return {(arm, seed): f"{arm}-{seed}" for arm, seed in records}


def rows(axes):
    """For each row of a panel: its colour, {seed: (x, y)} by the link of each dot, and the parts of its error bar."""
    dots, bars = [found for found in axes.collections if found.get_urls() != [None]], axes.containers
    for found, bar in zip(dots, bars, strict=True):
        seeds = [int(url.rpartition("-")[2]) for url in found.get_urls()]
        places = dict(zip(seeds, np.ma.filled(found.get_offsets(), np.nan), strict=True))
        yield found.get_facecolor()[0][:3], places, bar


@pytest.mark.parametrize("panel", [0, 1])
def test_dots_means_and_intervals_are_at_their_values(panel):
    table, records = made_up()
    axes = draw_arms(table, links(records)).axes[panel]
    base = np.array(table["arms"][0]["values"])
    heights = []
    for index, (arm, (_, places, bar)) in enumerate(zip(table["arms"], rows(axes), strict=True)):
        expected = np.array(arm["values"], np.float64) - panel * base
        expected = np.full(4, np.nan) if panel and index == 0 else expected
        np.testing.assert_allclose([places[seed][0] for seed in SEEDS], expected, rtol=1e-12)
        heights.append([places[seed][1] - index for seed in SEEDS])
        found = expected[np.isfinite(expected)]
        (diamond, _, (interval,)) = bar
        np.testing.assert_allclose(float(diamond.get_xdata()[0]), found.mean() if len(found) else np.nan, rtol=1e-9)
        if len(found) > 1 and np.ptp(found) > 1e-9:
            ends = stats.t.interval(0.95, len(found) - 1, found.mean(), stats.sem(found))
            np.testing.assert_allclose(interval.get_segments()[0][:, 0], ends, rtol=1e-9)
    drawn = np.isfinite(heights)
    np.testing.assert_allclose(np.array(heights)[drawn], np.array([heights[1]] * 4)[drawn], rtol=1e-9)  # one a seed
    assert (np.diff(heights[1]) > 0).all()  # the first on top, as the axis runs down
    (line,) = [line for line in axes.lines if line.get_linestyle() == "--"]
    np.testing.assert_allclose(line.get_xdata(), 0 if panel else base.mean())
    low, high = axes.get_xlim()
    assert low < line.get_xdata()[0] < high


def test_labels_say_what_failed_and_colour_says_what_is_significant():
    table, records = made_up(ARMS[:3], [3, 5, 7, 9, 11, 13, 15])
    assert [row["against_base"]["significant"] for row in table["arms"][1:]] == [True, True]
    table["arms"][2]["against_base"]["significant"] = None
    axes = draw_arms(table, links(records)).axes[0]
    assert [colour.tolist() for colour, *_ in rows(axes)] == [[*COLOURS[name]] for name in (INK, BLUE, GREY)]
    table, records = made_up()
    said = [label.get_text().split("\n")[-1] for label in draw_arms(table, links(records)).axes[0].get_yticklabels()]
    assert said[0] == "base"
    assert said[2:] == ["(2 failed)", "(4 failed)"]


def test_curves_are_means_with_bands_and_failed_cells_go_as_far_as_they_did():
    table, records = made_up(FAILING)
    (axes,) = draw_curves(table, records).axes
    assert axes.get_title("left") == "diverges\n(2 failed)"
    solid = [line for line in axes.lines if line.get_linestyle() == "-" and len(line.get_xdata())]
    for line, band, (arm, seeds) in zip(solid, axes.collections, [("base", SEEDS), ("diverges", [3, 5])], strict=True):
        curves = [records[arm, seed]["curves"][METRIC] for seed in seeds]
        updates, values = [update for update, _ in curves[0]], np.array(curves)[:, :, 1]
        np.testing.assert_allclose(line.get_xydata(), np.stack([updates, values.mean(0)], -1), rtol=1e-12)
        low, high = stats.t.interval(0.95, len(seeds) - 1, values.mean(0), stats.sem(values))
        corners = {(round(x, 9), round(y, 9)) for x, y in band.get_paths()[0].vertices}
        assert corners >= {(round(x, 9), round(y, 9)) for x, y in [*zip(updates, low), *zip(updates, high)]}  # noqa: B905
    dotted = [line for line in axes.lines if line.get_linestyle() == ":" and len(line.get_xdata())]
    crosses = [line for line in axes.lines if line.get_marker() == "x" and len(line.get_xdata())]
    for seed, line, cross in zip((4, 6), dotted, crosses, strict=True):
        curve = [point for point in records["diverges", seed]["curves"][METRIC] if point[1] is not None]
        np.testing.assert_array_equal(line.get_xydata(), curve)
        assert curve[-1] == [6, 50.0]
        np.testing.assert_allclose(cross.get_xydata(), [[6, axes.get_ylim()[1]]])  # cut at the edge
        assert matplotlib.colors.to_rgb(line.get_color()) == COLOURS[RED]


@pytest.mark.parametrize("count", [1, 3, 4, 5])
def test_every_arm_has_a_panel_at_one_scale(count):
    arms = [ARMS[0], *(type(ARMS[1])(f"arm {index}") for index in range(count))]
    table, records = made_up(ARMS[:2])
    other = ARMS[1].name
    found = {(arm.name, seed): records["base" if arm is arms[0] else other, seed] for arm in arms for seed in SEEDS}
    table = {**table, "arms": [table["arms"][0], *({**table["arms"][1], "name": arm.name} for arm in arms[1:])]}
    panels = draw_curves(table, found).axes
    assert [axes.get_title("left") for axes in panels] == [arm.name for arm in arms[1:]]
    assert len({(*axes.get_xlim(), *axes.get_ylim()) for axes in panels}) == 1
    shown = [axes.xaxis.get_tick_params()["labelbottom"] for axes in panels]
    assert shown == [index + min(count, 3) >= count for index in range(count)]


def test_the_users_own_style_changes_nothing():
    table, records = made_up()
    plain = render(table, records, links(records))
    with matplotlib.rc_context({"lines.linewidth": 9, "font.size": 30, "svg.fonttype": "path", "svg.hashsalt": None}):
        assert render(table, records, links(records)) == plain
        assert matplotlib.rcParams["font.size"] == 30


def test_an_axis_holds_all_values_and_wide_intervals_only_in_part():
    low, high = limits([1.0, 2.0, None, math.nan], [0.5, 2.4, None])
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
