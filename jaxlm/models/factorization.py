"""Matrix factorisation: the dot product of a vector of a user and one of an item.

B users, K items of each, I items in all, D width of a vector.
"""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxlm.nn.dropout import Dropout
from jaxlm.nn.embed import Embed
from jaxlm.nn.module import Module

MULTIPLE = 64  # of rows in a table, so that it can be split over devices by row
VECTOR_STD = 0.01  # of initial vectors (He et al. 2017, section 4.1)


def vector_table(count: int, width: int, std: float, name: str) -> Embed:
    """Return a table of vectors; its last rows, up to a multiple of 64, belong to no user or item."""
    return Embed(-(-count // MULTIPLE) * MULTIPLE, width, std, name=name)


def products(user_BD: jax.Array, vectors: Embed, items: jax.Array | None, count: int) -> jax.Array:
    """Return dot products with the vectors of some items, [B, K], or of all, [B, I]."""
    if items is None:
        return vectors.attend(user_BD)[:, :count]
    return jnp.einsum("bd,bkd->bk", user_BD, vectors(items))


class MatrixFactorization(Module):
    """Score an item by the dot product of its vector with the user's, plus a bias of the item.

    Rendle et al. 2009 (arXiv:1205.2618, section 4.3.1) and 2020 (arXiv:2005.09683).

    Attributes:
        users: number of users.
        items: number of items.
        width: D.
        std: of the initial vectors.
        dropout: rate on the user's vector in training; it needs an rng named "dropout".
        inputs: entries of a batch that the model takes.
    """

    users: int
    items: int
    width: int = 64
    std: float = VECTOR_STD
    dropout: float = 0.0

    hyperparameters = ("dropout",)
    inputs: ClassVar[tuple[str, ...]] = ("user",)

    @nn.compact
    def __call__(self, users_B: jax.Array, items: jax.Array | None = None, *, train: bool = False) -> jax.Array:
        """Return the scores of items.

        Args:
            users_B: int32.
            items: int32 [B, K], those of each user; None: all.
            train: apply dropout.

        Returns:
            [B, K], or [B, I] for all.
        """
        user_BD = vector_table(self.users, self.width, self.std, "user_table")(users_B)
        user_BD = Dropout(self.dropout, deterministic=not train)(user_BD)
        bias_I1 = vector_table(self.items, 1, 0.0, "item_bias")
        one_B1 = jnp.ones_like(user_BD[:, :1])
        vectors = vector_table(self.items, self.width, self.std, "item_table")
        return products(user_BD, vectors, items, self.items) + products(one_B1, bias_I1, items, self.items)
