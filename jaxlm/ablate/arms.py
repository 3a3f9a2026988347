"""The arms of an ablation: named lists of override words, from a config file and from the command line.

An arm's words are those that one would type to run it by hand: ("--optim.warmup", "0").
"""

import contextlib
import difflib
import io
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from jaxlm.ablate.cell import settings, with_seed
from jaxlm.errors import BadInput
from jaxlm.train.config import override
from jaxlm.train.serialise import to_json

BASE = "base"
Mode = Literal["one-at-a-time", "grid", "leave-one-out"]


@dataclass(frozen=True)
class Arm:
    """A change of the base: its name and the override words that make it. The base has no words."""

    name: str
    words: tuple[str, ...] = ()


def declared(ablations: Any, source: str) -> list[Arm]:
    """The arms of a config file's `ablations`. Raises BadInput where that is not a dict of names and words."""
    if not isinstance(ablations, Mapping):
        raise BadInput(f"`ablations` of {source} is {type(ablations).__name__}: make it a dict of names and words")
    for name, words in ablations.items():
        if not isinstance(words, (tuple, list)) or not all(isinstance(word, str) for word in words):
            raise BadInput(f'ablation {name!r} of {source} is no tuple of words: write ("--run.steps", "100")')
    return [Arm(str(name), tuple(words)) for name, words in ablations.items()]


def varied(base: Any, specs: Sequence[str]) -> list[list[Arm]]:
    """For each `field=v1,v2` the arms that set that one field. Raises BadInput for what is no such thing.

    The words of a value are separated by spaces where the field is a tuple: "model.widths=16 32,64".
    """
    return [_values(fields(to_json(base)), spec) for spec in specs]


def _values(known: dict[str, Any], spec: str) -> list[Arm]:
    field, equals, values = spec.partition("=")
    field = field.strip().removeprefix("--").replace("-", "_")
    if not equals or not field or not all(value.strip() for value in values.split(",")):
        raise BadInput(f"--vary {spec}: write a field and its values, as --vary optim.peak=1e-3,3e-3")
    if field not in known:
        raise BadInput(f"--vary {spec}: {unknown(field, known)}")
    return [
        Arm(f"{field}={value.strip()}", override_words(field, value.strip(), known[field]))
        for value in values.split(",")
    ]


def override_words(field: str, value: str, old: Any) -> tuple[str, ...]:
    """The override words that give a field a value; booleans are flags, tuples are several words."""
    if isinstance(old, bool):
        if value.lower() not in ("true", "false"):
            raise BadInput(f"{field}={value}: {field} is a switch: give True or False")
        parent, _, last = field.rpartition(".")
        return (f"--{field}" if value.lower() == "true" else f"--{parent}.no-{last}",)
    return (f"--{field}", *(value.split() if isinstance(old, list) else (value,)))


def combine(base: Any, mode: Mode, changes: list[Arm], variations: list[list[Arm]]) -> list[Arm]:
    """The arms that a mode makes of declared changes and varied fields, without the base.

    one-at-a-time: every change and every value alone.
    grid: every change alone, and the product of the fields without the point that is the base itself.
    leave-one-out: all changes and fields at once, and all but one of them; BadInput where a field has several values
      then, or where there are fewer than two changes.
    """
    if mode == "one-at-a-time":
        return [*changes, *itertools.chain.from_iterable(variations)]
    if mode == "grid":
        points = itertools.product(*variations) if variations else ()
        product = [_join(", ".join(arm.name for arm in point), point) for point in points]
        return [*changes, *(arm for arm in product if _meaning(_config(base, arm), base) != _meaning(base, base))]
    if several := next((arms for arms in variations if len(arms) > 1), None):
        raise BadInput(f"--leave-one-out takes one value of a field, and --vary gives {several[0].name} and others")
    parts = [*changes, *(arms[0] for arms in variations)]
    if len(parts) < 2:
        raise BadInput(f"--leave-one-out needs at least two changes and has {len(parts)}: declare more, or --vary more")
    left_out = (_join(f"all but {part.name}", [other for other in parts if other is not part]) for part in parts)
    return [_join("all", parts), *left_out]


def _join(name: str, arms: Sequence[Arm]) -> Arm:
    return Arm(name, tuple(itertools.chain.from_iterable(arm.words for arm in arms)))


def resolve(base: Any, arms: Sequence[Arm]) -> list[tuple[Arm, Any]]:
    """The base and every arm, each with its whole config.

    Raises BadInput for words that do not parse, an arm that changes nothing, two arms that are the same, and where
    nothing is left beside the base.
    """
    resolved = [(Arm(BASE), base)]
    seen = [(_meaning(base, base), BASE)]
    for arm in arms:
        if arm.name in {other.name for other, _ in resolved}:
            raise BadInput(f"two arms are called {arm.name!r}: give each its own name")
        config = _config(base, arm)
        meaning = _meaning(config, base)
        other = next((name for known, name in seen if known == meaning), None)
        if other == BASE:
            raise BadInput(f"arm {arm.name!r} is equal to the base: leave it out, or change something else in it")
        if other is not None:
            raise BadInput(f"arms {other!r} and {arm.name!r} are the same: leave one out")
        seen.append((meaning, arm.name))
        resolved.append((arm, config))
    if len(resolved) == 1:
        raise BadInput("there is no arm beside the base: declare `ablations` in the config file, or give --vary")
    return resolved


def _config(base: Any, arm: Arm) -> Any:
    return parse(base, arm.words, f"arm {arm.name!r}")


def _meaning(config: Any, base: Any) -> dict[str, Any]:
    """What tells two arms apart: the settings that a result depends on, at one seed."""
    return settings(with_seed(config, base.run.seed))


def parse(base: Any, words: Sequence[str], where: str) -> Any:
    """The base with override words applied. Raises BadInput, one line, where they do not parse."""
    told = io.StringIO()
    try:
        with contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):
            return override(base, list(words))
    except SystemExit:
        known = fields(to_json(base))
        for word in words:
            field = word[2:].partition("=")[0].replace("-", "_")
            if word.startswith("--") and field not in known and field.replace(".no_", ".") not in known:
                raise BadInput(f"{where}: {unknown(field, known)}") from None
        raise BadInput(f"{where}: {_one_line(told.getvalue()) or f'cannot read {list(words)}'}") from None


def _one_line(message: str) -> str:
    """What tyro told, without its box, its title and the help below."""
    paragraphs = re.split(r"\n\W*\n", message)
    return " ".join(" ".join(paragraphs[1:2] or paragraphs).replace("│", " ").split())


def unknown(field: str, known: Mapping[str, Any]) -> str:
    """That there is no such field, and the nearest one there is."""
    near = difflib.get_close_matches(field, known, n=1, cutoff=0.5)
    return f"there is no field {field}" + (f": did you mean {near[0]}?" if near else ": --help lists the fields")


def fields(value: Any, path: str = "") -> dict[str, Any]:
    """Every field of a JSON config that a command line can set: {"model.depth": 4, "data.augment.0.degrees": 10}."""
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        value = dict(enumerate(value))
    if not isinstance(value, dict):
        return {path: value}
    found: dict[str, Any] = {}
    for key, item in value.items():
        if key != "type":
            found |= fields(item, f"{path}.{key}" if path else str(key))
    return found
