"""DLRM: dot products between the vectors of categories and of the numbers of a table.

B batch, N numbers, C categories, D width of a vector, K vectors of a row.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxlm.models.table_mlp import TableMLP
from jaxlm.nn.feature_tokens import FeatureTokens
from jaxlm.nn.linear import wide
from jaxlm.nn.module import Module


class DLRM(Module):
    """Deep learning recommendation model: numbers [B, N] and categories [B, C] to outputs [B, classes].

    A perceptron makes one vector of all numbers. The products of each two of the vectors, of numbers and of categories,
    and the vector of numbers itself are what a second perceptron reads (Naumov et al. 2019, arXiv:1906.00091).

    Attributes:
        features: how columns become vectors; with "none", the first perceptron reads the numbers as they are, as in the
            paper, and else their vectors.
        classes: outputs; 1 for a number.
        bottom: width of each hidden layer of the perceptron of numbers.
        hidden: width of each hidden layer of the one on top.
        dropout: rate in training; it needs an rng named "dropout".
    """

    features: FeatureTokens
    classes: int = 1
    bottom: tuple[int, ...] = (64,)
    hidden: tuple[int, ...] = (256, 128)
    dropout: float = 0.0

    hyperparameters = ("dropout",)

    @nn.compact
    def __call__(self, numbers_BN: jax.Array, categories: jax.Array | None = None, *, train: bool = False) -> jax.Array:
        """Return the outputs.

        Args:
            numbers_BN: scaled.
            categories: int32 [B, C], rows of the table of categories.
            train: apply dropout.
        """
        as_they_are = FeatureTokens(kind="none", parent=None)
        bottom = TableMLP(as_they_are, self.features.width, self.bottom, self.dropout, name="bottom")
        x_BD = nn.relu(bottom(self.features.join(numbers_BN), train=train))
        vectors_BKD = x_BD[:, None]
        if categories is not None:
            found_BCD = self.features.category(categories).astype(x_BD.dtype)
            vectors_BKD = jnp.concatenate([vectors_BKD, found_BCD], 1)
        first, second = np.tril_indices(vectors_BKD.shape[1], -1)
        products_BKK = wide(jnp.einsum("bkd,bld->bkl", vectors_BKD, vectors_BKD))
        x_BF = jnp.concatenate([x_BD, products_BKK[:, first, second].astype(x_BD.dtype)], 1)
        return TableMLP(as_they_are, self.classes, self.hidden, self.dropout, name="top")(x_BF, train=train)
