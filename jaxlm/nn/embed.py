"""Token embeddings and the tied output layer.

B batch, T tokens, V vocabulary, D width.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxlm.nn.linear import KERNEL_STD, matmul, wide
from jaxlm.nn.module import Module

ONE_HOT_ROWS = 2048  # largest table whose gradient is a matrix product, see `lookup`


@jax.custom_jvp
def lookup(table_VD: jax.Array, tokens_BT: jax.Array) -> jax.Array:
    """Look up rows of an embedding table, [B, T, D]; an index outside the table, a negative one too, gives NaN.

    The gradient of a small table is a one-hot matrix product instead of a scatter-add, which CPUs run serially and
    accelerators with atomic operations (hence not reproducibly). Large tables keep the scatter, which adds in float32:
    the product's cost grows with V.
    """
    return jnp.asarray(table_VD).at[tokens_BT].get(mode="fill", wrap_negative_indices=False)


@lookup.defjvp
def _lookup_jvp(primals, tangents):
    """Differentiate linearly in the table's tangent, so that the transpose is the product one_hot' @ gradient."""
    (table_VD, tokens_BT), (table_dot_VD, _) = primals, tangents
    if table_VD.shape[0] > ONE_HOT_ROWS:
        dot_BTD = wide(table_dot_VD).at[tokens_BT].get(mode="fill", wrap_negative_indices=False)
        return lookup(table_VD, tokens_BT), dot_BTD.astype(table_VD.dtype)
    one_hot_BTV = jax.nn.one_hot(tokens_BT, table_VD.shape[0], dtype=table_VD.dtype)
    return lookup(table_VD, tokens_BT), matmul(one_hot_BTV, table_dot_VD)


class Embed(Module):
    """Embedding table of `vocab` vectors of `width`, drawn from N(0, std^2), also usable as a tied output layer."""

    vocab: int
    width: int
    std: float = KERNEL_STD

    def setup(self) -> None:
        """Create the table."""
        self.embedding = self.param(
            "embedding", nn.initializers.normal(self.std), (self.vocab, self.width), jnp.float32
        )

    def __call__(self, tokens_BT: jax.Array) -> jax.Array:
        """Return the tokens' vectors, [B, T, D], in the table's dtype."""
        return lookup(self.embedding, tokens_BT)

    def attend(self, x_BTD: jax.Array) -> jax.Array:
        """Compute logits as products with every token's vector, [B, T, V] (Press & Wolf 2017)."""
        return matmul(x_BTD, self.embedding.T)
