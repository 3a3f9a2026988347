"""The base class of every layer and model: a Linen module whose fields cannot change."""

import dataclasses
import math
from collections.abc import Iterator
from typing import Any, ClassVar

import flax.linen as nn
from flax.errors import SetAttributeFrozenModuleError

from jaxlm.errors import BadInput

Params = Any  # nested dicts of arrays, as Linen has them
_ATTACHED_BY_LINEN = ("parent", "name")
_RATES = ("dropout",)


class Module(nn.Module):
    """A Linen module whose declared fields cannot be assigned after construction.

    Linen itself refuses this only for modules bound to a scope. Outside of one, `GPT(...).depth = 3` would silently
    change a value that serves as config, hash key and static argument of compiled programs. Use `clone(depth=3)`.

    Attributes:
        may_be_zero: names of the integer fields that may be 0 (see `validate`).

    Raises:
        flax.errors.SetAttributeFrozenModuleError: on assignment to a field of a constructed module.
    """

    may_be_zero: ClassVar[tuple[str, ...]] = ()

    def validate(self) -> None:
        """Check the range of every field: sizes are at least 1, rates in [0, 1), other numbers finite and not negative.

        A model whose fields must fit each other checks more.

        Raises:
            BadInput: one line that names the field, and how to fix it.
        """
        for name, value in _numbers(self):
            if isinstance(value, int):
                least = 0 if name in self.may_be_zero else 1
                fits, rule = value >= least, f"at least {least}"
            elif name in _RATES:
                fits, rule = 0 <= value < 1, "at least 0 and less than 1"
            else:
                fits, rule = 0 <= value < math.inf, "a finite number of at least 0"
            if not fits:
                raise BadInput(f"model.{name} is {getattr(self, name)}: it must be {rule}")
        for part in _parts(self):
            part.validate()

    def __setattr__(self, name: str, value: Any) -> None:
        """Refuse declared fields after construction; leave everything else to Linen."""
        constructed = "_id" in self.__dict__  # the first thing that Linen's __post_init__ sets, after the fields
        field = self.__dataclass_fields__.get(name)
        if constructed and field is not None and field.init and name not in _ATTACHED_BY_LINEN:
            raise SetAttributeFrozenModuleError(type(self).__name__, name, value)
        super().__setattr__(name, value)


def _fields(module: Module) -> Iterator[tuple[str, Any]]:
    for field in dataclasses.fields(module):
        if field.init and field.name not in _ATTACHED_BY_LINEN:
            yield field.name, getattr(module, field.name)


def _numbers(module: Module) -> Iterator[tuple[str, int | float]]:
    """Yield every number in the fields of a module, those in tuples too. A traced one has no value to check."""
    for name, value in _fields(module):
        items = [value]
        while items:
            item = items.pop()
            if isinstance(item, tuple):
                items.extend(item)
            elif isinstance(item, int | float) and not isinstance(item, bool):
                yield name, item


def _parts(module: Module) -> list[Module]:
    """Return the modules in the fields of a module, such as the encoder of a classifier."""
    return [value for _, value in _fields(module) if isinstance(value, Module)]
