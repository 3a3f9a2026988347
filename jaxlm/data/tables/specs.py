"""Specs of tables whose target is a number, or a class; what they share, and their batches, are in `table`."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxlm.data.model_checks import check_classes, first_names
from jaxlm.data.tables.neighbours import Neighbours
from jaxlm.data.tables.table import Table
from jaxlm.data.tables.targets import (
    ClassTarget,
    NumberTarget,
    TargetScale,
    fit_class_target,
    fit_number_target,
    read_targets,
)


@dataclass(frozen=True, kw_only=True)
class RegressionTable(Table):
    """Spec: a table whose target is a number.

    Attributes:
        scale_target: how the target is scaled for the training: "standard", "log" (standard, of its logarithm) or
            "none".
        neighbours: targets of the nearest training rows that are looked up for each row.
    """

    scale_target: TargetScale = "standard"
    neighbours: tuple[Neighbours, ...] = ()

    def fit_target(self, cells: np.ndarray, places: Sequence[str]) -> NumberTarget:
        """Fit the scaling of the target on the training rows."""
        return fit_number_target(cells, places, self.target, self.scale_target)

    def strata(self, cells: np.ndarray, places: Sequence[str]) -> None:
        """Check that every target is a number; return None."""
        read_targets(cells, places, self.target, self.scale_target == "log")

    def number(self) -> NumberTarget:
        """Return the scaling of the target."""
        target = self.loaded().schema.target
        assert isinstance(target, NumberTarget)
        return target


@dataclass(frozen=True, kw_only=True)
class ClassTable(Table):
    """Spec: a table whose target is a class; folds have the same shares of each."""

    def fit_target(self, cells: np.ndarray, places: Sequence[str]) -> ClassTarget:
        """Fit the names of the classes on the training rows."""
        return fit_class_target(cells, places, self.target, self.strip)

    def strata(self, cells: np.ndarray, places: Sequence[str]) -> np.ndarray:
        """Return the class of each row."""
        return self.fit_target(cells, places).encode(cells, places)["label"]

    def names(self) -> tuple[str, ...]:
        """Return the names of the classes, by index."""
        target = self.loaded().schema.target
        assert isinstance(target, ClassTarget)
        return target.names

    def artefacts(self) -> dict[str, str]:
        """Return columns.json and classes.json."""
        return {**super().artefacts(), "classes.json": json.dumps({"names": list(self.names())}, indent=1) + "\n"}

    def log_lines(self) -> list[str]:
        """Return a line about each split, and two about columns and classes."""
        return [*super().log_lines(), f"classes: {len(self.names())} ({first_names(self.names())})"]

    def check(self, model: Any, repeat: int = 1) -> None:
        """Raise BadInput where the table cannot be read, or does not fit a model (`classes`, `features.vocab`)."""
        super().check(model, repeat)
        check_classes(model, self.names())
