"""See and change what the layers of a model compute, without a change in the model."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import flax.linen as nn
import jax

# (the layer, its input, what computes its output) -> output
Visit = Callable[[Any, jax.Array, Callable[[], jax.Array]], jax.Array]


def intercept_layers(visit: Visit, *kinds: type[nn.Module]) -> AbstractContextManager[None]:
    """Replace the output of every layer of some kinds that a model calls, while the context is open.

    Args:
        visit: called in the place of each layer, in the order in which the model calls them.
        kinds: of layers, such as `Dense`; of each the `__call__` alone, and not where parameters are created.
    """

    def intercept(layer: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any], context: Any) -> Any:
        module = context.module
        if not isinstance(module, kinds) or context.method_name != "__call__" or module.is_initializing():
            return layer(*args, **options)
        return visit(module, args[0], lambda: layer(*args, **options))

    return nn.intercept_methods(intercept)
