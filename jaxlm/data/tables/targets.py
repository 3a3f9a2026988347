"""What a table is asked for: a number, scaled for the training, or a class."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from jaxlm.data.labelled_text.sources import sort_labels
from jaxlm.data.tables.columns import to_numbers
from jaxlm.errors import BadInput

TargetScale = Literal["none", "standard", "log"]


@dataclass(frozen=True)
class NumberTarget:
    """A target that is a number: what a model learns is (y - shift) / scale, or (log y - shift) / scale.

    Attributes:
        name: of the column.
        log: whether the logarithm is scaled.
        shift: subtracted.
        scale: what is left is divided by it.
        center: the mean of the target in training, in its own units.
    """

    name: str
    log: bool = False
    shift: float = 0.0
    scale: float = 1.0
    center: float = 0.0

    def scaled(self, y: np.ndarray) -> np.ndarray:
        """Return numbers as the model learns them, float64."""
        return ((np.log(y) if self.log else y) - self.shift) / self.scale

    def restored(self, x: Any, exp: Callable[[Any], Any] = np.exp) -> Any:
        """Return what a model predicts in the target's own units.

        Args:
            x: NumPy's or jax's array, or a float.
            exp: the exponential of the same library.
        """
        found = x * self.scale + self.shift
        return exp(found) if self.log else found

    def encode(self, cells: np.ndarray, places: Sequence[str]) -> dict[str, np.ndarray]:
        """Return "target" as the model learns it and "value" in its own units, float32 [R].

        Raises:
            BadInput: a cell that is missing, not a number or, for a logarithm, not positive; names its row.
        """
        y = read_targets(cells, places, self.name, self.log)
        return {"target": self.scaled(y).astype(np.float32), "value": y.astype(np.float32)}


@dataclass(frozen=True)
class ClassTarget:
    """A target that is a class.

    Attributes:
        name: of the column.
        names: of the classes, by index.
        strip: characters that are taken off both ends of a cell.
    """

    name: str
    names: tuple[str, ...]
    strip: str = ""

    def encode(self, cells: np.ndarray, places: Sequence[str]) -> dict[str, np.ndarray]:
        """Return "label" int32 [R].

        Raises:
            BadInput: a cell that is missing, or a class that training did not have; names its row.
        """
        numbers = {name: index for index, name in enumerate(self.names)}
        labels = [cell.strip(self.strip) for cell in known_cells(cells, places, self.name)]
        wrong = next((row for row, label in enumerate(labels) if label not in numbers), None)
        if wrong is not None:
            raise BadInput(
                f"{places[wrong]}: {self.name!r} is {labels[wrong]!r}, which is not among the classes of the training "
                f"rows ({', '.join(self.names[:6])}{', ...' * (len(self.names) > 6)}): correct it, or --data.strip "
                "characters around it"
            )
        return {"label": np.array([numbers[label] for label in labels], np.int32)}


def known_cells(cells: np.ndarray, places: Sequence[str], name: str) -> np.ndarray:
    """Return the cells of a target; raises BadInput where one is missing and names its row."""
    empty = [row for row, cell in enumerate(cells) if cell is None]
    if empty:
        raise BadInput(
            f"{places[empty[0]]}: the target {name!r} is missing ({len(empty)} such): give it, or leave the row out"
        )
    return cells


def read_targets(cells: np.ndarray, places: Sequence[str], name: str, positive: bool) -> np.ndarray:
    """Return targets as float64; raises BadInput for one that is missing, no number, or not positive."""
    y = to_numbers(known_cells(cells, places, name), places, name)
    if positive and len(low := np.flatnonzero(y <= 0)):
        raise BadInput(
            f"{places[low[0]]}: the target {name!r} is {cells[low[0]]}, which has no logarithm ({len(low)} such): set "
            "--data.scale-target standard"
        )
    return y


def fit_number_target(cells: np.ndarray, places: Sequence[str], name: str, scale: TargetScale) -> NumberTarget:
    """Fit the scaling of a target on its training rows."""
    y = read_targets(cells, places, name, scale == "log")
    learnt = np.log(y) if scale == "log" else y
    if scale == "none":
        return NumberTarget(name, center=float(y.mean()))
    if not learnt.std():
        raise BadInput(f"the target {name!r} is {cells[0]} in every training row: there is nothing to learn")
    return NumberTarget(name, scale == "log", float(learnt.mean()), float(learnt.std()), float(y.mean()))


def fit_class_target(cells: np.ndarray, places: Sequence[str], name: str, strip: str) -> ClassTarget:
    """Fit the names of the classes on the training rows."""
    found = {cell.strip(strip) for cell in known_cells(cells, places, name)}
    if len(found) < 2:
        raise BadInput(f"the target {name!r} is {cells[0]!r} in every training row: there is nothing to learn")
    if len(found) > 1000:
        raise BadInput(f"the target {name!r} has {len(found):,} classes: a number is learnt by tabular_regression")
    return ClassTarget(name, sort_labels(found), strip)
