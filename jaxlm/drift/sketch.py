"""Histograms of the distribution of a feature: small, without any example, and added by adding counts."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxlm.errors import BadInput

Value = float | str
BINS = 20  # of numbers, of about equal mass
NAMES = 30  # categories that are counted alone
RARE = 20  # times that a category must come to be counted alone


@dataclass(frozen=True)
class Sketch:
    """How often a feature had its values.

    Law: sketches of the same bins that are added are the sketch of all values.

    Attributes:
        bins: ascending edges of numbers, bin i holding those above edge i - 1 and up to edge i; or names of categories.
        counts: of the bins; the last one is of numbers above the last edge and of NaN, or of all other categories.
    """

    bins: tuple[float, ...] | tuple[str, ...]
    counts: tuple[int, ...]

    @property
    def named(self) -> bool:
        """Return whether the values are categories."""
        return bool(self.bins) and isinstance(self.bins[0], str)

    @property
    def total(self) -> int:
        """Return the number of values."""
        return sum(self.counts)

    def of(self, values: Iterable[Value]) -> "Sketch":
        """Return the sketch of other values, in the same bins."""
        if self.named:
            places = {name: place for place, name in enumerate(self.bins)}
            found = [places.get(value, len(self.bins)) for value in values]  # type: ignore[call-overload]
        else:
            found = np.searchsorted(np.array(self.bins, np.float64), np.fromiter(values, np.float64)).tolist()
        counts = np.bincount(np.array(found, np.int64), minlength=len(self.bins) + 1)
        return Sketch(self.bins, tuple(counts.tolist()))

    def __add__(self, other: "Sketch") -> "Sketch":
        """Return the sketch of the values of both.

        Raises:
            ValueError: they have other bins.
        """
        if self.bins != other.bins:
            raise ValueError("sketches of other bins cannot be added")
        return Sketch(self.bins, tuple(a + b for a, b in zip(self.counts, other.counts, strict=True)))

    def to_data(self) -> dict[str, Any]:
        """Return the sketch as JSON."""
        return {"bins": list(self.bins), "counts": list(self.counts)}


def sketch(values: Sequence[Value]) -> Sketch:
    """Choose bins for values and count them: quantiles of numbers, or the categories that come often.

    The first bin of numbers is of those below all values, the last of those above; so both are empty here.

    Args:
        values: at least one, all numbers or all texts.
    """
    if isinstance(values[0], str):
        common = [str(name) for name, count in Counter(values).most_common(NAMES) if count >= RARE]
        bins: Any = tuple(sorted(common or [str(Counter(values).most_common(1)[0][0])]))
    else:
        numbers = np.asarray(values, np.float64)
        known = numbers[np.isfinite(numbers)]
        known = known if len(known) else np.zeros(1)
        quantiles = np.quantile(known, np.arange(1, BINS + 1) / BINS, method="inverted_cdf")
        bins = tuple(np.unique([np.nextafter(known.min(), -np.inf), *quantiles]).tolist())
    return Sketch(bins, ()).of(values)


def sketches_of(rows: Sequence[Mapping[str, Value]]) -> dict[str, Sketch]:
    """Return a sketch of every feature of some rows, in the order of their names."""
    names = sorted({name for row in rows for name in row})
    return {name: sketch([row[name] for row in rows if name in row]) for name in names}


def from_data(found: Any, place: str) -> dict[str, Sketch]:
    """Return sketches by the name of their feature from JSON of `Sketch.to_data`.

    Raises:
        BadInput: they are damaged; names their place.
    """
    try:
        made = {name: Sketch(tuple(one["bins"]), tuple(map(int, one["counts"]))) for name, one in found.items()}
        if all(len(one.counts) == len(one.bins) + 1 and one.total for one in made.values()):
            return made
    except (AttributeError, KeyError, TypeError, ValueError):
        pass
    raise BadInput(f"{place} is damaged: export again")
