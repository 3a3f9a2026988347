"""What each column of a table becomes: entries of numbers, or the number of a category. Fitted on the training rows.

Columns are frozen dataclasses of plain values, so a run keeps them as JSON and applies them again to the bit.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Literal, NamedTuple

import numpy as np

from jaxlm.errors import BadInput

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
DATE = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d.*)?")
TRUTHS = {"true": 1.0, "yes": 1.0, "t": 1.0, "y": 1.0, "1": 1.0, "false": 0.0, "no": 0.0, "f": 0.0, "n": 0.0, "0": 0.0}
KNOTS = 1000  # of a quantile map
FEW_NUMBERS, FEW_ODD = 20, 0.05  # a column with more numbers, and a smaller share of other cells, is of numbers
UNKNOWN, MISSING, NAMED = 0, 1, 2  # numbers of a category: not seen in training, no value, the first name
Scale = Literal["standard", "quantile"]


class Entries(NamedTuple):
    """A column, encoded.

    Attributes:
        values: float64 [R, entries] of numbers, or int32 [R] of categories.
        flagged: bool [R]: an unknown category; a number that was filled in where training had no missing ones.
    """

    values: np.ndarray
    flagged: np.ndarray


@dataclass(frozen=True)
class NumberColumn:
    """A column of numbers, or of truth values: scaled, with its median in the place of missing cells.

    Where training had missing cells, a second entry is 1 for those and 0 for others.

    Attributes:
        name: of the column.
        shift: subtracted.
        scale: what is left is divided by it.
        knots: numbers, ascending; with them the scaled number is interpolated between `heights` in their place, and is
            the first or the last of these outside of them.
        heights: the scaled numbers at the knots.
        fill: the median in training.
        missing: whether training had missing cells.
        truth: whether the cells are truth values.
    """

    name: str
    shift: float
    scale: float
    knots: tuple[float, ...] = ()
    heights: tuple[float, ...] = ()
    fill: float = 0.0
    missing: bool = False
    truth: bool = False

    def entries(self) -> tuple[str, ...]:
        """Return the names of its entries."""
        return (self.name, f"{self.name} missing") if self.missing else (self.name,)

    def encode(self, cells: np.ndarray, places: Sequence[str]) -> Entries:
        """Encode cells; raises BadInput for one that is not a number and names its place."""
        numbers = to_numbers(cells, places, self.name, self.truth)
        empty = np.isnan(numbers)
        scaled = self.scaled(np.where(empty, self.fill, numbers))
        values = np.stack([scaled, empty], 1) if self.missing else scaled[:, None]
        return Entries(values, np.zeros(len(cells), bool) if self.missing else empty)

    def scaled(self, numbers: np.ndarray) -> np.ndarray:
        """Return numbers as the model sees them, float64."""
        if self.knots:
            return np.interp(numbers, self.knots, self.heights)
        return (numbers - self.shift) / self.scale


@dataclass(frozen=True)
class DateColumn:
    """A column of dates: its day as a number, and sine and cosine of the parts of its year and of its week.

    Attributes:
        name: of the column.
        days: days since 1970-01-01, with a fraction where there is a time.
    """

    name: str
    days: NumberColumn

    def entries(self) -> tuple[str, ...]:
        """Return the names of its entries."""
        waves = [f"{self.name} {wave} of {period}" for period in ("year", "week") for wave in ("sine", "cosine")]
        return (*self.days.entries(), *waves)

    def encode(self, cells: np.ndarray, places: Sequence[str]) -> Entries:
        """Encode cells; raises BadInput for one that is not a date and names its place."""
        days = to_days(cells, places, self.name)
        empty = np.isnan(days)
        text = np.empty(len(days), object)
        text[:] = [None if np.isnan(day) else repr(float(day)) for day in days]
        found = self.days.encode(text, places)
        turns = [2 * np.pi * days / period for period in (365.2425, 7.0)]
        waves = np.stack([wave(turn) for turn in turns for wave in (np.sin, np.cos)], 1)
        return Entries(np.concatenate([found.values, np.where(empty[:, None], 0, waves)], 1), found.flagged)


@dataclass(frozen=True)
class CategoryColumn:
    """A column of categories: 0 is one that training did not have (or had rarely), 1 a missing cell, 2 the first name.

    Attributes:
        name: of the column.
        names: of the categories, sorted.
        strip: characters that are taken off both ends of a cell.
        crossed: the columns whose cells side by side are its cells (see `crosses`); (): it is a column of the table.
    """

    name: str
    names: tuple[str, ...]
    strip: str = ""
    crossed: tuple[str, ...] = ()

    @property
    def read(self) -> tuple[str, ...]:
        """Return the columns of the table that it is made of."""
        return self.crossed or (self.name,)

    @property
    def size(self) -> int:
        """Return how many numbers there are, the two without a name included."""
        return NAMED + len(self.names)

    def encode(self, cells: np.ndarray, places: Sequence[str]) -> Entries:
        """Encode cells as int32 [R]; every text is a category, if perhaps an unknown one."""
        del places
        numbers: dict[str | None, int] = {name: NAMED + index for index, name in enumerate(self.names)}
        numbers[None] = MISSING
        stripped = [cell if cell is None else cell.strip(self.strip) for cell in cells] if self.strip else cells
        values = np.array([numbers.get(cell, UNKNOWN) for cell in stripped], np.int32)
        return Entries(values, values == UNKNOWN)


Column = NumberColumn | DateColumn | CategoryColumn


def to_numbers(cells: np.ndarray, places: Sequence[str], name: str, truth: bool = False) -> np.ndarray:
    """Return cells as float64, NaN for a missing one.

    Raises:
        BadInput: a cell that is not a number (or not a truth value); names its place.
    """
    found = np.full(len(cells), np.nan)
    for row, cell in enumerate(cells):
        if cell is None:
            continue
        if truth and cell.lower() in TRUTHS:
            found[row] = TRUTHS[cell.lower()]
        elif not truth and NUMBER.fullmatch(cell):
            found[row] = float(cell)
        else:
            kind = "true or false" if truth else "a number"
            raise BadInput(f"{places[row]}: {name!r} is {cell!r}, not {kind}: correct it, or leave the row out")
    if len(large := np.flatnonzero(np.abs(found) > np.finfo(np.float32).max)):
        raise BadInput(f"{places[large[0]]}: {name!r} is {cells[large[0]]!r}, too large for a number: correct it")
    return found


def to_days(cells: np.ndarray, places: Sequence[str], name: str) -> np.ndarray:
    """Return dates of ISO 8601 as days since 1970-01-01, float64, NaN for a missing one; without a zone it is UTC.

    Raises:
        BadInput: a cell that is not a date; names its place.
    """
    import pandas

    dates = pandas.to_datetime(pandas.Series(cells, dtype=object), format="ISO8601", errors="coerce", utc=True)
    wrong = np.flatnonzero(dates.isna().to_numpy() & np.array([cell is not None for cell in cells], bool))
    if len(wrong):
        place = places[wrong[0]]
        raise BadInput(f"{place}: {name!r} is {cells[wrong[0]]!r}, not a date as 2024-02-29: correct it")
    seconds = (dates - pandas.Timestamp("1970-01-01", tz="UTC")).dt.total_seconds()
    return seconds.to_numpy(np.float64) / 86400


def fit_number(name: str, numbers: np.ndarray, scale: Scale, truth: bool = False) -> NumberColumn:
    """Fit the scaling of a column on its training rows.

    "standard" has mean 0 and deviation 1. "quantile" maps the quantiles to those of the normal distribution by a
    monotone, piecewise linear function: equal numbers have the mean of their ranks, and the ends are those of the
    middles of the first and the last of the ranks.
    """
    known = np.sort(numbers[~np.isnan(numbers)])
    fill, missing = float(np.median(known)), len(known) < len(numbers)
    shift, spread = float(known.mean()), float(known.std())
    if scale == "standard" or truth:
        return NumberColumn(name, shift, spread or 1.0, fill=fill, missing=missing, truth=truth)
    ranks = (np.arange(len(known)) + 0.5) / len(known)
    knots, first, counts = np.unique(known, return_index=True, return_counts=True)
    middles = (ranks[first] + ranks[first + counts - 1]) / 2
    chosen = np.unique(np.linspace(0, len(knots) - 1, min(len(knots), KNOTS)).round().astype(int))
    heights = tuple(NormalDist().inv_cdf(float(middle)) for middle in middles[chosen])
    return NumberColumn(name, shift, spread or 1.0, tuple(knots[chosen].tolist()), heights, fill, missing)


def fit_category(
    name: str, cells: np.ndarray, places: Sequence[str], strip: str, least: int, most: int
) -> CategoryColumn:
    """Fit the names of a column of categories on its training rows.

    Args:
        name: of the column.
        cells: of training.
        places: of the rows, for a message.
        strip: characters taken off both ends of a cell.
        least: rows that a category must have to get a name.
        most: categories that a column may have.

    Raises:
        BadInput: more categories, as a column of free text or of names has.
    """
    counts = Counter(cell.strip(strip) for cell in cells if cell is not None)
    if len(counts) > most:
        odd = next((row for row, cell in enumerate(cells) if cell is not None and not NUMBER.fullmatch(cell)), None)
        more = "" if odd is None else f", the first that is not a number {cells[odd]!r} ({places[odd]})"
        raise BadInput(
            f"the column {name!r} has {len(counts):,} different values{more}: correct it, leave it out with "
            f"--data.drop {name}, or raise --data.max-categories"
        )
    return CategoryColumn(name, tuple(sorted(cell for cell, count in counts.items() if count >= least)), strip)


def fit_column(
    name: str, cells: np.ndarray, places: Sequence[str], scale: Scale, category: bool, **limits: Any
) -> Column | None:
    """Fit a column on its training rows; None where it is constant, as it then says nothing.

    A column is of numbers, of truth values or of dates where each of its cells is one, else of categories. A few cells
    that are not numbers among many that are raise BadInput.

    Args:
        name: of the column.
        cells: of training.
        places: of the rows, for a message.
        scale: of numbers and dates.
        category: whether it is of categories, whatever its cells are.
        **limits: of `fit_category`.
    """
    known = [cell for cell in cells if cell is not None]
    if len(set(cells)) < 2 or not known:
        return None
    if not category and all(map(NUMBER.fullmatch, known)):
        numbers = to_numbers(cells, places, name)
        return fit_number(name, numbers, scale) if len(np.unique(numbers)) > 1 else None
    lower = {cell.lower() for cell in known}
    if not category and lower <= TRUTHS.keys() - {"0", "1"}:
        return fit_number(name, to_numbers(cells, places, name, truth=True), scale, truth=True)
    if not category and all(map(DATE.fullmatch, known)):
        return DateColumn(name, fit_number(name, to_days(cells, places, name), scale))
    if not category:
        check_not_almost_numbers(name, cells, places)
    return fit_category(name, cells, places, **limits)


def check_not_almost_numbers(name: str, cells: np.ndarray, places: Sequence[str]) -> None:
    """Check that a column of categories is not one of numbers with a few cells that are none.

    Raises:
        BadInput: a few cells among many different numbers; names the first and its place.
    """
    known = [row for row, cell in enumerate(cells) if cell is not None]
    odd = [row for row in known if not NUMBER.fullmatch(cells[row])]
    numbers = {cells[row] for row in known} - {cells[row] for row in odd}
    if len(numbers) > FEW_NUMBERS and len(odd) <= FEW_ODD * len(known):
        raise BadInput(
            f"{places[odd[0]]}: {name!r} is {cells[odd[0]]!r}, and {len(known) - len(odd):,} of {len(known):,} cells "
            "of this column are numbers: correct it, name it in --data.missing where it means that there is no value, "
            f"or name the column in --data.categories {name}"
        )
