"""The feature tokenizer and transformer on the columns of a table (Gorishniy et al. 2021, arXiv:2106.11959).

B batch, N numbers, C categories, T tokens, D width.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxlm.errors import BadInput
from jaxlm.models.vit import Block
from jaxlm.nn.feature_tokens import FeatureTokens
from jaxlm.nn.linear import Dense, broadcast
from jaxlm.nn.module import Module
from jaxlm.nn.norm import LayerNorm


class FTTransformer(Module):
    """Transformer over the columns of a row: numbers [B, N] and categories [B, C] to outputs [B, classes].

    A learned token is put before the vectors of the columns, and after pre-norm layers the outputs are read off it
    (section 3.3). The layers are those of the vision transformer, with GELU where the paper has ReGLU, a norm before
    the first attention, and no dropout on the attention weights.

    Attributes:
        features: how columns become vectors, of a kind other than "none"; its width is that of the stream.
        classes: outputs; 1 for a number.
        depth: number of layers.
        heads: attention heads; the width is a multiple of it.
        hidden: width of the feed-forward networks; None: 2 * width.
        dropout: rate on both residual branches in training; it needs an rng named "dropout".
    """

    features: FeatureTokens
    classes: int = 1
    depth: int = 3
    heads: int = 8
    hidden: int | None = None
    dropout: float = 0.1

    hyperparameters = ("dropout",)

    @nn.compact
    def __call__(self, numbers_BN: jax.Array, categories: jax.Array | None = None, *, train: bool = False) -> jax.Array:
        """Return the outputs.

        Args:
            numbers_BN: scaled.
            categories: int32 [B, C], rows of the table of categories.
            train: apply dropout.

        Raises:
            BadInput: fields that contradict each other.
        """
        self.validate()
        width = self.features.width
        x_BTD = self.features(numbers_BN, categories)
        token_11D = self.param("token", nn.initializers.normal(width**-0.5), (1, 1, width), jnp.float32)
        token_B1D = broadcast(token_11D.astype(x_BTD.dtype), (x_BTD.shape[0], 1, width))
        x_BTD = jnp.concatenate([token_B1D, x_BTD], 1)
        for number in range(self.depth):
            layer = Block(
                self.heads,
                self.hidden or 2 * width,
                self.depth,
                self.dropout,
                1e-5,
                "gelu",
                True,
                train,
                name=f"block_{number}",
            )
            x_BTD = layer(x_BTD)
        return Dense(self.classes, name="head")(nn.relu(LayerNorm(name="norm")(x_BTD[:, 0])))

    def validate(self) -> None:
        """Check the fields against each other.

        Raises:
            BadInput: one line that names the field and how to fix it.
        """
        super().validate()
        if self.features.width % self.heads:
            raise BadInput(
                f"model.features.width is {self.features.width}: make it a multiple of model.heads, {self.heads}"
            )
        if self.features.kind == "none":
            raise BadInput(
                "model.features.kind is none: a transformer needs vectors: take linear, periodic or piecewise"
            )
