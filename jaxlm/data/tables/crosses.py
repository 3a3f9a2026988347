"""Crossed columns: the cells of several columns side by side, as the categories of one more.

R rows.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxlm.data.tables.columns import CategoryColumn, fit_category
from jaxlm.errors import BadInput

CROSS = " x "  # between the names of crossed columns, and between their cells


def cross(columns: Sequence[np.ndarray], strip: str) -> np.ndarray:
    """Return the cells of columns side by side, None where one of them is missing; one column's are as they are."""
    if len(columns) == 1:
        return columns[0]
    found = np.empty(len(columns[0]), object)
    rows = zip(*columns, strict=True)
    found[:] = [None if None in row else CROSS.join(cell.strip(strip) for cell in row) for row in rows]
    return found


def crossed_columns(crossed: str) -> tuple[str, ...]:
    """Return the columns that "education x sex" crosses.

    Raises:
        BadInput: they are less than two.
    """
    names = tuple(crossed.split(CROSS))
    if len(names) < 2:
        raise BadInput(f"data.crosses has {crossed!r}: name at least two columns, such as 'education{CROSS}sex'")
    return names


def fit_cross(
    crossed: str, cells: Mapping[str, np.ndarray], places: Sequence[str], strip: str, **limits: Any
) -> CategoryColumn:
    """Fit a column whose categories are the cells of other columns side by side (crossed columns).

    Args:
        crossed: the columns, such as "education x sex".
        cells: column -> texts and Nones of training.
        places: of the rows, for a message.
        strip: characters taken off both ends of a cell.
        **limits: of `fit_category`.
    """
    names = crossed_columns(crossed)
    both = cross([cells[name] for name in names], strip)
    return dataclasses.replace(fit_category(crossed, both, places, strip, **limits), crossed=names)
