"""The targets of the nearest training rows as numbers that a model reads: what houses nearby cost, say.

A network learns a target that jumps from place to place slowly; looking the neighbours up is what models with retrieval
do inside (Gorishniy et al. 2024, TabR, arXiv:2307.14338).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from jaxlm.data.tables.columns import NumberColumn, fit_number, to_numbers
from jaxlm.errors import BadInput

NEAREST = 1e-2  # added to a distance, in deviations, before it divides


@dataclass(frozen=True)
class Neighbours:
    """Spec: the mean target of the training rows that are nearest by some columns of numbers.

    Attributes:
        columns: their names; a distance is Euclidean, in standard deviations of each.
        count: rows looked up.
        weights: of the columns in a distance, or none: 1 each.
    """

    columns: tuple[str, ...]
    count: int = 10
    weights: tuple[float, ...] = ()


@dataclass(frozen=True)
class NeighbourColumn:
    """Mean and deviation of the targets of the nearest training rows, weighted by 1 / (distance + 0.01).

    A training row is none of its own neighbours, so its own target does not reach the model.

    Attributes:
        numbers: the columns that a distance is of.
        weights: of each of them.
        count: neighbours.
        points: of the training rows, scaled and weighted.
        targets: of the training rows, as a model learns them.
    """

    numbers: tuple[NumberColumn, ...]
    weights: tuple[float, ...]
    count: int
    points: tuple[tuple[float, ...], ...]
    targets: tuple[float, ...]

    @cached_property
    def _known(self) -> tuple[Any, np.ndarray]:
        from sklearn.neighbors import KDTree

        return KDTree(np.array(self.points)), np.array(self.targets)

    def encode(self, cells: Mapping[str, np.ndarray], places: Sequence[str], own: bool) -> np.ndarray:
        """Return the mean and the deviation of each row, float64 [R, 2].

        Args:
            cells: column -> texts and Nones.
            places: of the rows, for a message.
            own: whether these are the training rows, in their order.
        """
        tree, targets = self._known
        rows = to_points(self.numbers, self.weights, cells, places)
        distances, found = tree.query(rows, k=self.count + own)
        if own:
            kept = found != np.arange(len(rows))[:, None]
            kept[kept.all(1), -1] = False  # of many equal rows it was not found itself
            distances, found = (x[kept].reshape(len(rows), self.count) for x in (distances, found))
        shares = 1 / (distances + NEAREST)
        shares /= shares.sum(1, keepdims=True)
        mean = (shares * targets[found]).sum(1)
        spread = np.sqrt((shares * (targets[found] - mean[:, None]) ** 2).sum(1))
        return np.stack([mean, spread], 1)


def to_points(
    numbers: Sequence[NumberColumn], weights: Sequence[float], cells: Mapping[str, np.ndarray], places: Sequence[str]
) -> np.ndarray:
    """Return rows as points, float64 [R, columns]; a missing number is the median."""
    found = [column.encode(cells[column.name], places).values[:, 0] for column in numbers]
    return np.stack(found, 1) * np.array(weights)


def fit_neighbours(
    spec: Neighbours, cells: Mapping[str, np.ndarray], places: Sequence[str], targets: np.ndarray
) -> NeighbourColumn:
    """Fit the look-up on the training rows.

    Raises:
        BadInput: a column is not there or not of numbers, or there are too few rows.
    """
    weights = spec.weights or (1.0,) * len(spec.columns)
    if not spec.columns or len(weights) != len(spec.columns):
        raise BadInput(
            f"data.neighbours has {len(spec.columns)} columns and {len(spec.weights)} weights: give a weight for each"
        )
    if not 1 <= spec.count < len(places):
        raise BadInput(f"data.neighbours has a count of {spec.count}: give 1 to {len(places) - 1}")
    if lacking := [name for name in spec.columns if name not in cells]:
        raise BadInput(f"data.neighbours names {lacking[0]!r}, and the table has {', '.join(cells)}: correct it")
    if empty := [name for name in spec.columns if all(cell is None for cell in cells[name])]:
        raise BadInput(f"data.neighbours names {empty[0]!r}, which has no number in training: name another column")
    numbers = tuple(fit_number(name, to_numbers(cells[name], places, name), "standard") for name in spec.columns)
    points = to_points(numbers, weights, cells, places)
    return NeighbourColumn(numbers, weights, spec.count, tuple(map(tuple, points.tolist())), tuple(targets.tolist()))
