"""The arms of an ablation: named lists of override words, from a config file and from the command line.

An arm's words are those that one would type to run it by hand: ("--optim.warmup", "0").
"""

import difflib
import itertools
import shlex
from collections import ChainMap
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Any, Literal, get_type_hints

from jaxlm.ablate.cell import settings, with_seed
from jaxlm.errors import BadInput, one_line
from jaxlm.runs.serialise import to_json
from jaxlm.train.config import fields, names_warmup, override, unknown_field
from jaxlm.train.hyperparameters import with_hyperparameters

BASE = "base"
Mode = Literal["one-at-a-time", "grid", "leave-one-out"]


@dataclass(frozen=True)
class Arm:
    """A change of the base.

    Attributes:
        name: how tables call it.
        words: the override words that make it; the base has none.
        values: what these words set, by dotted path, where that is known without parsing them.
    """

    name: str
    words: tuple[str, ...] = ()
    values: Mapping[str, Any] | None = field(default=None, compare=False)

    def config(self, base: Any) -> Any:
        """Return the base with this change.

        Raises:
            BadInput: the words cannot be parsed, or a class of the config refuses the values.
        """
        try:
            if self.values is None:
                return parse(base, self.words, f"arm {self.name!r}")
            return with_hyperparameters(base, self.values)
        except BadInput:
            raise
        except Exception as error:
            raise BadInput(f"arm {self.name!r}: {one_line(error)}") from error


def declared_arms(ablations: Any, source: str) -> list[Arm]:
    """Return the arms of a config file's `ablations`.

    Raises:
        BadInput: that is not a dict of names and words.
    """
    if not isinstance(ablations, Mapping):
        raise BadInput(f"`ablations` of {source} is {type(ablations).__name__}: make it a dict of names and words")
    for name, words in ablations.items():
        if not isinstance(words, (tuple, list)) or not all(isinstance(word, str) for word in words):
            raise BadInput(f'ablation {name!r} of {source} is no tuple of words: write ("--run.steps", "100")')
    return [Arm(str(name), tuple(words)) for name, words in ablations.items()]


def varied(base: Any, specs: Sequence[str]) -> list[list[Arm]]:
    """Return for each `field=v1,v2` the arms that set that one field.

    The words of a value are separated by spaces where the field is a tuple: "model.widths=16 32,64".

    Raises:
        BadInput: a spec of another form, a field that is not there, or a value that does not fit it.
    """
    known = fields(to_json(base))
    return [_values(base, known, spec) for spec in specs]


def _values(base: Any, known: dict[str, Any], spec: str) -> list[Arm]:
    name, equals, values = spec.partition("=")
    path = name.strip().removeprefix("--").replace("-", "_")
    if not equals or not path or not all(value.strip() for value in values.split(",")):
        raise BadInput(f"--vary {spec}: write a field and its values, as --vary optim.peak_lr=1e-3,3e-3")
    if path not in known:
        raise BadInput(f"--vary {spec}: {unknown_field(path, known)}")
    texts = [text.strip() for text in values.split(",")]
    return [_arm(base, path, text, override_words(path, text, known[path])) for text in texts]


def _arm(base: Any, path: str, text: str, words: tuple[str, ...]) -> Arm:
    """Return the arm that sets one field. What it sets is read here, once for all the points of a grid."""
    arm = Arm(f"{path}={text}", words)
    try:
        parent = reduce(getattr, path.split(".")[:-1], base)
        last = path.rpartition(".")[2]
        kind = get_type_hints(type(parent))[last]
        value = kind(text) if kind in (int, float, str) else reduce(getattr, path.split("."), arm.config(base))
    except BadInput:
        raise
    except Exception:  # an item of a tuple, or a text that is no number: tyro knows what to do, or what to say
        arm.config(base)
        return arm
    return replace(arm, values={path: value})


def override_words(path: str, text: str, old: Any) -> tuple[str, ...]:
    """Return the override words that give a field a value; booleans are flags, tuples are several words.

    Quotation marks hold a word of a tuple together that has spaces.
    """
    flag = path.replace("_", "-")
    if isinstance(old, bool):
        if text.lower() not in ("true", "false"):
            raise BadInput(f"{path}={text}: {path} is a switch: give True or False")
        parent, _, last = flag.rpartition(".")
        return (f"--{flag}" if text.lower() == "true" else f"--{parent}.no-{last}",)
    if not isinstance(old, list):
        return f"--{flag}", text
    try:
        return f"--{flag}", *shlex.split(text)
    except ValueError as error:
        raise BadInput(f"{path}={text}: {error}: close the quotation mark") from None


def combine(base: Any, mode: Mode, changes: list[Arm], variations: list[list[Arm]]) -> list[Arm]:
    """Return the arms that a mode makes of declared changes and varied fields, without the base.

    A varied value, or a point of a grid, that is the base itself or another arm has the row of that one already.

    Args:
        base: the config.
        mode: "one-at-a-time" is every change and every value alone; "grid" every change alone, and the product of the
            fields; "leave-one-out" all changes and fields at once, and all but one of them.
        changes: declared.
        variations: for each field the arms that set it.

    Raises:
        BadInput: for "leave-one-out" a field has several values, or there are fewer than two changes.
    """
    if mode == "one-at-a-time":
        return _without_repeats(base, changes, list(itertools.chain.from_iterable(variations)))
    if mode == "grid":
        points = itertools.product(*variations) if variations else ()
        product = [_join(", ".join(arm.name for arm in point), point) for point in points]
        return _without_repeats(base, changes, product)
    if several := next((arms for arms in variations if len(arms) > 1), None):
        raise BadInput(f"--leave-one-out takes one value of a field, and --vary gives {several[0].name} and others")
    every = [*changes, *(arms[0] for arms in variations)]
    if len(every) < 2:
        raise BadInput(f"--leave-one-out needs at least two changes and has {len(every)}: declare more, or --vary more")
    left_out = (_join(f"all but {arm.name}", [other for other in every if other is not arm]) for arm in every)
    return [_join("all", every), *left_out]


def _join(name: str, arms: Sequence[Arm]) -> Arm:
    """Return all changes of arms in one."""
    words = tuple(itertools.chain.from_iterable(arm.words for arm in arms))
    values = [arm.values for arm in arms]
    return Arm(name, words, None if None in values else dict(ChainMap(*map(dict, reversed(values)))))


def _without_repeats(base: Any, changes: list[Arm], variations: list[Arm]) -> list[Arm]:
    """Return declared changes, and those varied ones that are neither the base nor an arm before them."""
    seen = {_meaning(base, base), *(_meaning(arm.config(base), base) for arm in changes if variations)}
    kept = []
    for arm in variations:
        meaning = _meaning(arm.config(base), base)
        if meaning not in seen:
            seen.add(meaning)
            kept.append(arm)
    return [*changes, *kept]


def choose_arms(arms: Sequence[Arm], names: Sequence[str]) -> list[Arm]:
    """Return the arms of these names in their order, or all of them where no name is given.

    Raises:
        BadInput: a name that no arm has, with the nearest one.
    """
    known = [arm.name for arm in arms]
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            there = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(map(repr, known))}"
            raise BadInput(f"--only {name}: there is no such arm: {there}")
    return [arm for arm in arms if not names or arm.name in names]


def resolve(base: Any, arms: Sequence[Arm]) -> list[tuple[Arm, Any]]:
    """Return the base and every arm, each with its whole config.

    Raises:
        BadInput: words that cannot be parsed, an arm that changes nothing, two arms that are the same, and no arm.
    """
    resolved = [(Arm(BASE), base)]
    seen = {_meaning(base, base): BASE}
    for arm in arms:
        if arm.name in seen.values():
            raise BadInput(f"two arms are called {arm.name!r}: give each its own name")
        config = arm.config(base)
        meaning = _meaning(config, base)
        other = seen.get(meaning)
        if other == BASE:
            raise BadInput(f"arm {arm.name!r} is equal to the base: leave it out, or change something else in it")
        if other is not None:
            raise BadInput(f"arms {other!r} and {arm.name!r} are the same: leave one out")
        seen[meaning] = arm.name
        resolved.append((arm, config))
    if len(resolved) == 1:
        raise BadInput("no arm differs from the base: declare `ablations` in the config file, or --vary other values")
    return resolved


def _meaning(config: Any, base: Any) -> Hashable:
    """Return what makes two arms different: the settings that a result depends on, at one seed."""
    return _frozen(settings(with_seed(config, base.run.seed)))


def typed(words: Sequence[str], warmup: int | None) -> list[str]:
    """Return override words as one types them to run a cell by hand.

    `jaxlm train` may shorten the warm-up where `--run.steps` is given without it, so it is given, too.

    Args:
        words: of the base and of an arm.
        warmup: of the cell's optimizer; None: it has none.
    """
    changed = any(word.partition("=")[0] == "--run.steps" for word in words)
    return [*words, *(("--optim.warmup", str(warmup)) if changed and warmup and not names_warmup(words) else ())]


def _frozen(value: Any) -> Hashable:
    """Return a JSON value as tuples; 1 and 1.0 are equal."""
    if isinstance(value, dict):
        return tuple((name, _frozen(item)) for name, item in sorted(value.items()))
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def parse(base: Any, words: Sequence[str], where: str) -> Any:
    """Return the base with override words applied.

    Raises:
        BadInput: the words cannot be parsed; the line begins with `where`.
    """
    try:
        return override(base, words)
    except BadInput as error:
        raise BadInput(f"{where}: {error}") from None
