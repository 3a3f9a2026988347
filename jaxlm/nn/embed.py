"""Token vectors and the tied read-out.

B batch, T tokens, V vocabulary, D width.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxlm.nn.linear import KERNEL_STD
from jaxlm.nn.module import Module

ONE_HOT_ROWS = 2048  # tables up to here take the matrix-product gradient: see `lookup`


def lookup(table_VD: jax.Array, tokens_BT: jax.Array) -> jax.Array:
    """Rows of a table by index, [B, T, D]; an index outside of the table gives NaN rather than a silent neighbour.

    The gradient of a small table is a one-hot matrix product instead of a scatter-add, which CPUs run serially and
    accelerators with atomic operations (hence not reproducibly). Large tables keep the scatter: the product's cost
    grows with V.
    """
    return _lookup_one_hot(table_VD, tokens_BT) if table_VD.shape[0] <= ONE_HOT_ROWS else _take(table_VD, tokens_BT)


class Embed(Module):
    """A table of `vocab` vectors of `width`, read by token and, tied, by similarity; drawn from N(0, std^2)."""

    vocab: int
    width: int
    std: float = KERNEL_STD

    def setup(self) -> None:
        """Declare the table."""
        self.embedding = self.param("embedding", nn.initializers.normal(self.std), (self.vocab, self.width))

    def __call__(self, tokens_BT: jax.Array) -> jax.Array:
        """The tokens' vectors, [B, T, D] in the table's dtype."""
        return lookup(self.embedding, tokens_BT)

    def attend(self, x_BTD: jax.Array) -> jax.Array:
        """Logits as the product with every token's vector, [B, T, V] (Press & Wolf 2017)."""
        return jnp.einsum("...d,vd->...v", x_BTD, self.embedding)


def _take(table_VD: jax.Array, tokens_BT: jax.Array) -> jax.Array:
    return jnp.take(table_VD, tokens_BT, axis=0, mode="fill")


@jax.custom_jvp
def _lookup_one_hot(table_VD: jax.Array, tokens_BT: jax.Array) -> jax.Array:
    return _take(table_VD, tokens_BT)


@_lookup_one_hot.defjvp
def _lookup_one_hot_jvp(primals, tangents):
    """Linear in the table's tangent, so that its transpose is the product one_hot' @ gradient."""
    (table_VD, tokens_BT), (table_dot_VD, _) = primals, tangents
    one_hot_BTV = jax.nn.one_hot(tokens_BT, table_VD.shape[0], dtype=table_VD.dtype)
    return _take(table_VD, tokens_BT), one_hot_BTV @ table_dot_VD
