"""The columns of a table as vectors: one for each number and each category.

B batch, N numbers, C categories, D width of a vector, K bins or frequencies.
"""

from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxlm.nn.embed import Embed
from jaxlm.nn.linear import broadcast, wide
from jaxlm.nn.module import Module

NumberEmbedding = Literal["none", "linear", "periodic", "piecewise"]


class FeatureTokens(Module):
    """Vectors of the columns of a table, [B, N + C, D].

    Each number has parameters of its own, each category a row of one table. The kinds for a number x:

        "linear"     x w + b (Gorishniy et al. 2021, arXiv:2106.11959, section 3.3)
        "periodic"   relu(W [x, cos 2 pi c x, sin 2 pi c x] + b) with K learnt frequencies c from N(0, sigma^2)
                     (Gorishniy et al. 2022, arXiv:2203.05556, section 3.3; x itself beside the waves)
        "piecewise"  relu(W p + b), where p_k is the share of bin k that is below x (section 3.2), for K bins with as
                     much of the normal distribution each: the quantiles of the data, where x was scaled by them
        "none"       no vectors: `join` gives the numbers as they are

    Attributes:
        vocab: rows of the table of categories, at least the categories of all columns together.
        width: D.
        kind: one of the above.
        size: K.
        sigma: of the frequencies.
    """

    vocab: int = 256
    width: int = 16
    kind: NumberEmbedding = "linear"
    size: int = 16
    sigma: float = 0.1

    def setup(self) -> None:
        """Create the table of categories."""
        self.category = Embed(self.vocab, self.width, std=self.width**-0.5)

    def __call__(self, numbers_BN: jax.Array, categories_BC: jax.Array | None = None) -> jax.Array:
        """Return the vectors of numbers and then those of categories, [B, N + C, D]."""
        found = [self.numbers(numbers_BN)]
        if categories_BC is not None:
            found.append(self.category(categories_BC).astype(numbers_BN.dtype))
        return jnp.concatenate(found, 1)

    def join(self, numbers_BN: jax.Array, categories_BC: jax.Array | None = None) -> jax.Array:
        """Return the vectors of all columns one behind the other, and with "none" the numbers as they are, [B, F]."""
        if self.kind != "none":
            return self(numbers_BN, categories_BC).reshape(numbers_BN.shape[0], -1)
        if categories_BC is None:
            return numbers_BN
        vectors_BCD = self.category(categories_BC).astype(numbers_BN.dtype)
        return jnp.concatenate([numbers_BN, vectors_BCD.reshape(numbers_BN.shape[0], -1)], 1)

    @nn.compact
    def numbers(self, numbers_BN: jax.Array) -> jax.Array:
        """Return the vectors of numbers, [B, N, D]."""
        count = numbers_BN.shape[1]
        if self.kind == "periodic":
            init = nn.initializers.normal(self.sigma)
            frequencies_NK = self.param("frequencies", init, (count, self.size), jnp.float32)
            shape = (*numbers_BN.shape, self.size)
            frequencies_BNK = broadcast(frequencies_NK[None].astype(numbers_BN.dtype), shape)
            angles_BNK = 2 * jnp.pi * numbers_BN[..., None] * frequencies_BNK
            x_BNF = jnp.concatenate([numbers_BN[..., None], jnp.cos(angles_BNK), jnp.sin(angles_BNK)], -1)
        elif self.kind == "piecewise":
            x_BNF = shares_of_bins(numbers_BN, self.size)
        else:
            x_BNF = numbers_BN[..., None]
        inputs = x_BNF.shape[-1]
        init = nn.initializers.normal(inputs**-0.5)
        kernel_NFD = self.param("kernel", init, (count, inputs, self.width), jnp.float32)
        bias_ND = self.param("bias", nn.initializers.normal(self.width**-0.5), (count, self.width), jnp.float32)
        y_BND = jnp.einsum("bnf,nfd->bnd", x_BNF, kernel_NFD.astype(x_BNF.dtype))
        y_BND = y_BND + broadcast(bias_ND.astype(y_BND.dtype)[None], y_BND.shape)
        return y_BND if self.kind == "linear" else nn.relu(y_BND)


def shares_of_bins(numbers_BN: jax.Array, bins: int) -> jax.Array:
    """Return for each of K bins of the normal distribution the share of it that is below a number, [B, N, K].

    1 for a bin below the number, 0 for one above it, and between them in its own.
    """
    below_BN1 = jax.scipy.stats.norm.cdf(wide(numbers_BN))[..., None] * bins
    return jnp.clip(below_BN1 - jnp.arange(bins, dtype=below_BN1.dtype)[None, None], 0, 1).astype(numbers_BN.dtype)
