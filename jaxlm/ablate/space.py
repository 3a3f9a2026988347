"""The space of a hyperparameter search: for each field of a config a range or a choice of values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jaxlm.ablate.arms import override_words, parse
from jaxlm.ablate.cell import FREE, FREE_WITHOUT_PATIENCE
from jaxlm.errors import BadInput
from jaxlm.runs.serialise import to_json
from jaxlm.runs.settings import Seeds
from jaxlm.train.config import fields, unknown_field

FORM = "write a field and its range or values, as --space optim.peak_lr=1e-4..1e-1:log or --space model.hidden=64,128"
FIXED = FREE | FREE_WITHOUT_PATIENCE | {"run.seed", *(f"run.{name}_seed" for name in Seeds._fields)}


@dataclass(frozen=True)
class Range:
    """The numbers from low to high, both included; integers where both are int.

    Attributes:
        low: the smallest.
        high: the largest.
        log: whether to draw uniformly in the logarithm.
    """

    low: float
    high: float
    log: bool = False


@dataclass(frozen=True)
class Choice:
    """Some values, as one would type them; several words of one value are separated by spaces."""

    values: tuple[str, ...]


Space = dict[str, Range | Choice]


def declared_space(space: Any, source: str) -> list[str]:
    """Return the specs of a config file's `space`.

    Raises:
        BadInput: that is not a dict of fields and texts.
    """
    if not isinstance(space, Mapping) or not all(isinstance(text, str) for pair in space.items() for text in pair):
        raise BadInput(f'`space` of {source} is no dict of texts: write {{"optim.peak_lr": "1e-4..1e-1:log"}}')
    return [f"{field}={text}" for field, text in space.items()]


def read_space(base: Any, specs: Sequence[str]) -> Space:
    """Read the space of a search from specs, `field=low..high[:log]` or `field=a,b,c`.

    Args:
        base: the config.
        specs: of two for one field the later one counts.

    Raises:
        BadInput: no specs, a field that is not there or that a search must not change, a range without numbers, one
            that is empty, reversed or logarithmic from zero or below, fewer than two values, values that do not fit.
    """
    if not specs:
        raise BadInput(f"there is no space to search: {FORM}, or declare `space` in the config file")
    return dict(_read(base, spec) for spec in specs)


def words_at(base: Any, point: Mapping[str, str]) -> tuple[str, ...]:
    """Return the override words of a point, which has a text for each field."""
    known = fields(to_json(base))
    return tuple(word for field, text in point.items() for word in override_words(field, text, known[field]))


def _read(base: Any, spec: str) -> tuple[str, Range | Choice]:
    name, equals, text = (part.strip() for part in spec.partition("="))
    field, known = name.removeprefix("--").replace("-", "_"), fields(to_json(base))
    if not equals or not field or not text:
        raise BadInput(f"--space {spec}: {FORM}")
    if field not in known:
        raise BadInput(f"--space {spec}: {unknown_field(field, known)}")
    if field in FIXED:
        raise BadInput(f"--space {spec}: {field} makes no run better: leave it out")
    whole, _, suffix = text.partition(":")
    if ".." in text and "," not in text:
        if suffix not in ("", "log") or text.endswith(":"):
            raise BadInput(f"--space {spec}: {suffix!r} after the colon: write :log, or nothing")
        return field, _range(base, field, whole, suffix == "log", spec)
    return field, _choice(base, field, text, spec)


def _range(base: Any, field: str, text: str, log: bool, spec: str) -> Range:
    first, _, last = text.partition("..")
    low, high = (_value(base, field, bound.strip(), spec) for bound in (first, last))
    for bound in (low, high):
        if isinstance(bound, bool) or not isinstance(bound, int | float):
            raise BadInput(f"--space {spec}: {field} takes no numbers: list its values, as --space {field}=a,b")
    if not low < high or high - low == float("inf"):
        fix = "give two finite bounds, the lower one first"
        raise BadInput(f"--space {spec}: from {low} to {high} there is no range: {fix}")
    if log and low <= 0:
        raise BadInput(f"--space {spec}: {low} has no logarithm: give a lower bound above 0, or leave :log out")
    return Range(low, high, log)


def _choice(base: Any, field: str, text: str, spec: str) -> Choice:
    values = tuple(value.strip() for value in text.split(","))
    found = [_value(base, field, value, spec) for value in values]
    if len(found) < 2 or any(value in found[:index] for index, value in enumerate(found)):
        raise BadInput(f"--space {spec}: give at least two values, all of them different, or a range as 1..8")
    return Choice(values)


def _value(base: Any, field: str, text: str, spec: str) -> Any:
    """Return what a field becomes when it is given a text."""
    if not text:
        raise BadInput(f"--space {spec}: {FORM}")
    where = f"--space {spec}"
    return fields(to_json(parse(base, words_at(base, {field: text}), where)))[field]
