"""Two towers: a network over what a user has met, one over an item, and the dot product of their vectors.

B users, S items that a user has met, K items of each, I items in all, D width of a vector.
"""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxlm.models.factorization import vector_table
from jaxlm.nn.dropout import Dropout
from jaxlm.nn.linear import Dense, broadcast
from jaxlm.nn.module import Module


class TwoTower(Module):
    """Score an item by the dot product of two networks, of the items that a user has met and of the item.

    The user's tower takes the sum of vectors of what the user has met over the root of their number, as Covington et
    al. 2016 (RecSys) take the mean. Dropped items make it a denoising autoencoder (Liang et al. 2018,
    arXiv:1802.05814, section 2.3), so that a user is not recommended what it has met alone. A user who was not in
    training has a vector too.

    Attributes:
        items: number of items.
        width: D.
        hidden: width of each hidden layer of the user's tower, with tanh.
        item_hidden: the same of the item's tower.
        std: of the initial vectors.
        dropout: share of the items that the user has met which are left out in training; it needs an rng named
            "dropout".
        inputs: entries of a batch that the model takes.
    """

    items: int
    width: int = 64
    hidden: tuple[int, ...] = ()
    item_hidden: tuple[int, ...] = ()
    std: float = 0.05
    dropout: float = 0.5

    hyperparameters = ("dropout",)
    inputs: ClassVar[tuple[str, ...]] = ("user", "seen")

    @nn.compact
    def __call__(
        self,
        users_B: jax.Array,
        items: jax.Array | None = None,
        *,
        seen: jax.Array | None = None,
        train: bool = False,
    ) -> jax.Array:
        """Return the scores of items.

        Args:
            users_B: int32; only their number is read.
            items: int32 [B, K], those of each user; None: all.
            seen: int32 [B, S], items that each user has met; -1 fills a row up. None: none.
            train: leave some of `seen` out.

        Returns:
            [B, K], or [B, I] for all.
        """
        self.validate()
        seen_BS = jnp.full((users_B.shape[0], 1), -1) if seen is None else seen
        there_BS = (seen_BS >= 0).astype(jnp.float32)
        kept_BS = Dropout(self.dropout, deterministic=not train)(there_BS)
        met = vector_table(self.items, self.width, self.std, "met_table")
        rows_B1 = jnp.arange(seen_BS.shape[0])[:, None]
        none_BI = jnp.zeros((seen_BS.shape[0], met.vocab), jnp.float32)
        counts_BI = none_BI.at[rows_B1, jnp.maximum(seen_BS, 0)].add(kept_BS)
        scale_B1 = jax.lax.rsqrt(jnp.maximum(there_BS.sum(1, keepdims=True), 1))
        user_BD = (counts_BI * scale_B1).astype(met.embedding.dtype) @ met.embedding
        user_BD = self._layers(user_BD, self.hidden, "user")
        vectors = vector_table(self.items, self.width, self.std, "item_table")
        bias = vector_table(self.items, 1, 0.0, "item_bias")
        if items is None:
            item_ID = self._layers(vectors.embedding[: self.items], self.item_hidden, "item")
            scores_BI = jnp.einsum("bd,id->bi", user_BD, item_ID)
            return scores_BI + broadcast(bias.embedding[None, : self.items, 0], scores_BI.shape)
        item_BKD = self._layers(vectors(items), self.item_hidden, "item")
        return jnp.einsum("bd,bkd->bk", user_BD, item_BKD) + bias(items)[..., 0]

    def _layers(self, x: jax.Array, hidden: tuple[int, ...], name: str) -> jax.Array:
        """Apply a tower's hidden layers, and a last map to the width of both where there are any."""
        for number, width in enumerate(hidden):
            x = jnp.tanh(Dense(width, name=f"{name}_hidden_{number}")(x))
        return Dense(self.width, name=f"{name}_head")(x) if hidden else x
