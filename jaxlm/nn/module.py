"""The base class of every layer and model: a Linen module that keeps its promise of being a frozen value."""

from typing import Any

import flax.linen as nn
from flax.errors import SetAttributeFrozenModuleError

_ATTACHED_BY_LINEN = ("parent", "name")


class Module(nn.Module):
    """A Linen module whose declared fields cannot be assigned once it is constructed.

    Linen itself refuses this only for modules bound to a scope; `GPT(...).depth = 3` outside of one would silently
    change a value that serves as config, hash key and static argument of compiled programs. Use `clone(depth=3)`.

    Raises:
      flax.errors.SetAttributeFrozenModuleError: on assignment to a field of a constructed module.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        """Refuse declared fields after construction; leave everything else to Linen."""
        constructed = "_id" in self.__dict__  # the first thing that Linen's __post_init__ sets, after the fields
        field = self.__dataclass_fields__.get(name)
        if constructed and field is not None and field.init and name not in _ATTACHED_BY_LINEN:
            raise SetAttributeFrozenModuleError(type(self).__name__, name, value)
        super().__setattr__(name, value)
