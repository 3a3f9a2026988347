"""Learning curves: a metric by update, of one cell and as the mean over the seeds of an arm."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxlm.ablate.report.statistics import is_finite, t_interval

Curve = Sequence[tuple[int, float]]  # (update, value), in the order of updates

MOST_DRAWN = 300  # points of a curve; a figure is about as many pixels wide


@dataclass(frozen=True)
class Point:
    """The mean of n seeds at an update and the ends of its 95 % t-interval, None for one seed."""

    update: int
    n: int
    mean: float
    low: float | None
    high: float | None


def finite(curve: Sequence[Any]) -> Curve:
    """Return the points of a recorded curve, [[update, value], ...], whose value is a finite number."""
    return [(update, value) for update, value in curve if is_finite(value)]


def average(curves: Sequence[Curve]) -> list[Point]:
    """Return mean and 95 % t-interval at each update, over the curves that have it, in the order of updates."""
    values: dict[int, list[float]] = {}
    for curve in curves:
        for update, value in curve:
            values.setdefault(update, []).append(value)
    points = [Point(update, 1, found[0], None, None) for update, found in values.items() if len(found) == 1]
    for count in {len(found) for found in values.values()} - {1}:
        updates = [update for update, found in values.items() if len(found) == count]
        ends = t_interval(np.array([values[update] for update in updates], np.float64))
        rows = zip(updates, *(end.tolist() for end in ends), strict=True)
        points += [Point(update, count, mean, low, high) for update, mean, low, high in rows]
    return sorted(points, key=lambda point: point.update)


def thin(points: Sequence[Any]) -> Sequence[Any]:
    """Return at most `MOST_DRAWN` of the points: every k-th, counted so that the last is kept, and the first."""
    stride = -(-(len(points) - 1) // (MOST_DRAWN - 1)) if len(points) > MOST_DRAWN else 1
    last = points[:0:-1][::stride][::-1]
    return [*points[:1], *last]
