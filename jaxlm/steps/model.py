"""The one interface that training, losses and decoding need of a model."""

from typing import Any, Protocol

import jax

PyTree = Any  # nested containers of arrays, as `jax.tree` takes them


class Model(Protocol):
    """The interface of a model: a function with parameters, split into `init` and `apply`. Every Linen module has it.

    A model is a frozen, hashable value. Its arrays are not in it but in the variables, a dict of collections such as
    `{"params": ..., "batch_stats": ...}`.
    """

    def init(self, rngs: jax.Array, *args: Any) -> dict[str, PyTree]:
        """Draw new variables from a key, for inputs like `args`.

        Args:
            rngs: typed PRNG key.
            *args: example inputs of `apply`; only their shapes and dtypes matter.

        Returns:
            The variable collections, "params" among them.
        """

    def apply(self, variables: PyTree, *args: Any, **kwargs: Any) -> Any:
        """Compute the model's outputs for inputs, without a side effect.

        Args:
            variables: the collections, `{"params": ..., other collections}`.
            *args: the inputs, each with a leading batch axis.
            **kwargs: `train`, `rngs`, `mutable`, and the inputs that have names.

        Returns:
            The outputs; with `mutable`, a pair of the outputs and the changed collections.
        """
