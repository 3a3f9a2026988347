"""A residual network of dense layers on the columns of a table.

B batch, N numbers, C categories, D width.
"""

import flax.linen as nn
import jax

from jaxlm.nn.dropout import Dropout
from jaxlm.nn.feature_tokens import FeatureTokens
from jaxlm.nn.linear import Dense
from jaxlm.nn.module import Module
from jaxlm.nn.norm import LayerNorm


class TableResNet(Module):
    """Residual network: numbers [B, N] and categories [B, C] to outputs [B, classes].

    A block is x + drop(W2 drop(relu(W1 norm(x)))), and the last layer reads relu(norm(x)): Gorishniy et al. 2021
    (arXiv:2106.11959), section 3.2, with layer normalisation in the place of batch normalisation, so that a row's
    output does not depend on the other rows of its batch.

    Attributes:
        features: how columns become numbers of a layer.
        classes: outputs; 1 for a number.
        depth: blocks.
        width: of the residual stream.
        hidden: width inside a block.
        dropout: rate in training, behind both layers of a block; it needs an rng named "dropout".
    """

    features: FeatureTokens
    classes: int = 1
    depth: int = 3
    width: int = 192
    hidden: int = 384
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
        he, drop = nn.initializers.he_normal(), Dropout(self.dropout, deterministic=not train, name="drop")
        x_BD = Dense(self.width, name="embed")(self.features.join(numbers_BN, categories))
        for number in range(self.depth):
            h_BD = LayerNorm(name=f"norm_{number}")(x_BD)
            h_BF = drop(nn.relu(Dense(self.hidden, kernel_init=he, name=f"up_{number}")(h_BD)))
            x_BD = x_BD + drop(Dense(self.width, name=f"down_{number}")(h_BF))
        return Dense(self.classes, name="head")(nn.relu(LayerNorm(name="norm")(x_BD)))
