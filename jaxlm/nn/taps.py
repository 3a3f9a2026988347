"""See and change what the matrices of a model are multiplied with, without a change in the model."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import flax.linen as nn
import jax

from jaxlm.nn.embed import Embed
from jaxlm.nn.linear import Dense

MATRICES = {Dense: "kernel", Embed: "embedding"}

# (name of the parameter, the matrix, the layer's input, what computes its output) -> output
Visit = Callable[[str, jax.Array, jax.Array, Callable[[], jax.Array]], jax.Array]


def intercept_matrices(visit: Visit) -> AbstractContextManager[None]:
    """Replace the output of every `Dense` and every look-up in an `Embed`, while the context is open.

    Args:
        visit: called in the place of each layer, in the order in which the model calls them. It gets "kernel" or
            "embedding", the matrix as the layer has it, the input, and a function that computes the output.
    """

    def intercept(layer: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any], context: Any) -> Any:
        name = MATRICES.get(type(context.module))
        if name is None or context.method_name != "__call__" or context.module.is_initializing():
            return layer(*args, **options)
        return visit(name, context.module.get_variable("params", name), args[0], lambda: layer(*args, **options))

    return nn.intercept_methods(intercept)
