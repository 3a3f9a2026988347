"""A multi-layer perceptron on the columns of a table.

B batch, N numbers, C categories, F features.
"""

import flax.linen as nn
import jax

from jaxlm.nn.dropout import Dropout
from jaxlm.nn.feature_tokens import FeatureTokens
from jaxlm.nn.linear import Dense
from jaxlm.nn.module import Module


class TableMLP(Module):
    """Multi-layer perceptron: numbers [B, N] and categories [B, C] to outputs [B, classes].

    Gorishniy et al. 2021 (arXiv:2106.11959), section 3.1. Hidden kernels are drawn from N(0, 2 / fan_in), truncated.

    Attributes:
        features: how columns become numbers of a layer.
        classes: outputs; 1 for a number.
        hidden: width of each hidden layer; a layer is affine, a ReLU, and dropout.
        dropout: rate in training; it needs an rng named "dropout".
    """

    features: FeatureTokens
    classes: int = 1
    hidden: tuple[int, ...] = (256, 256)
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
        x_BF = self.features.join(numbers_BN, categories)
        for number, width in enumerate(self.hidden):
            layer = Dense(width, kernel_init=nn.initializers.he_normal(), name=f"hidden_{number}")
            x_BF = Dropout(self.dropout, deterministic=not train)(nn.relu(layer(x_BF)))
        return Dense(self.classes, name="head")(x_BF)
