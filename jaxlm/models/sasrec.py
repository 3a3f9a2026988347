"""A causal transformer over the items that a user has met, in their order.

B users, S items that a user has met, T of them that are read, K items of each, I items in all, D width of a vector.
"""

from typing import ClassVar

import jax
import jax.numpy as jnp

from jaxlm.models.factorization import MULTIPLE, products
from jaxlm.models.gpt import GPT
from jaxlm.nn.module import Module


class SASRec(Module):
    """Score the next item by self-attention over the last ones (Kang and McAuley 2018, arXiv:1808.09781, section III).

    The vectors of items are those that the scores are products with. It is `GPT` with the norms before the layers, as
    the paper has them; its dropout is on the residual branches, and not on the attention.

    Attributes:
        items: number of items.
        context: the largest T.
        depth: number of layers.
        width: D; the feed-forward network has the same width.
        heads: of the attention.
        dropout: rate on the vectors of items and the residual branches; it needs an rng named "dropout".
        inputs: entries of a batch that the model takes.
    """

    items: int
    context: int = 50
    depth: int = 2
    width: int = 64
    heads: int = 1
    dropout: float = 0.2

    hyperparameters = ("dropout",)
    inputs: ClassVar[tuple[str, ...]] = ("user", "seen")

    def setup(self) -> None:
        """Create the transformer; its table is filled up to a multiple of 64 rows."""
        self.encoder = GPT(
            vocab=-(-self.items // MULTIPLE) * MULTIPLE,
            depth=self.depth,
            width=self.width,
            heads=self.heads,
            context=self.context,
            hidden=self.width,
            dropout=self.dropout,
        )

    def __call__(
        self,
        users_B: jax.Array,
        items: jax.Array | None = None,
        *,
        seen: jax.Array | None = None,
        every: bool = False,
        train: bool = False,
    ) -> jax.Array:
        """Return the scores of items to come next.

        Args:
            users_B: int32; only their number is read.
            items: int32 [B, K], those of each user; None: all.
            seen: int32 [B, S], items in the order in which each user met them; -1 fills a row up at its end. The last
                `context` of them are read. None: none.
            every: score what comes after each of the T items that are read, instead of after the last one.
            train: apply dropout.

        Returns:
            [B, K], or [B, I] for all; with `every` [B, T, I].
        """
        seen_BS = jnp.full((users_B.shape[0], 1), -1) if seen is None else seen
        tokens_BT, counts_B = last_items(seen_BS, self.context)
        segments_BT = (tokens_BT >= 0).astype(jnp.int32)
        x_BTD = self.encoder.encode(jnp.maximum(tokens_BT, 0), segments=segments_BT, train=train)
        if every:
            return self.encoder.embed.attend(x_BTD)[..., : self.items]
        last_B = jnp.maximum(counts_B - 1, 0)
        x_BD = jnp.take_along_axis(x_BTD, last_B[:, None, None], 1)[:, 0]
        return products(x_BD, self.encoder.embed, items, self.items)


def last_items(seen_BS: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
    """Return the last items of each row and how many they are.

    Args:
        seen_BS: int32; -1 fills a row up at its end.
        count: the largest T.

    Returns:
        int32 [B, T] with -1 at the end of a row, T at most S; int32 [B].
    """
    width = min(count, seen_BS.shape[1])
    counts_B = (seen_BS >= 0).sum(1)
    places_BT = jnp.maximum(counts_B - width, 0)[:, None] + jnp.arange(width)[None]
    return jnp.take_along_axis(seen_BS, places_BT, 1), jnp.minimum(counts_B, width)
