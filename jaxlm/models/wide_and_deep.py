"""Wide & Deep: a linear model on the columns of a table and their crosses, beside a multi-layer perceptron.

B batch, N numbers, C categories.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxlm.models.table_mlp import TableMLP
from jaxlm.nn.embed import Embed
from jaxlm.nn.feature_tokens import FeatureTokens
from jaxlm.nn.linear import Dense, wide
from jaxlm.nn.module import Module


class WideAndDeep(Module):
    """Wide & Deep network: numbers [B, N] and categories [B, C] to outputs [B, classes].

    The sum of a linear model, with a weight for each number and each category, and of a `TableMLP` (Cheng et al. 2016,
    arXiv:1606.07792, equation 3). The linear model remembers what goes together where the data has columns for it
    (`data.crosses`). Both are trained together by one optimizer, where the paper has FTRL for the linear model. Its
    weights begin at 0.

    Attributes:
        features: how columns become numbers of the deep part.
        classes: outputs; 1 for a number.
        hidden: width of each hidden layer of the deep part.
        dropout: rate in training; it needs an rng named "dropout".
    """

    features: FeatureTokens
    classes: int = 1
    hidden: tuple[int, ...] = (256, 128, 64)
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
        deep = TableMLP(self.features, self.classes, self.hidden, self.dropout, name="deep")
        y_BK = deep(numbers_BN, categories, train=train)
        y_BK = y_BK + Dense(self.classes, bias=False, kernel_init=nn.initializers.zeros, name="wide")(numbers_BN)
        if categories is None:
            return y_BK
        weights_BCK = Embed(self.features.vocab, self.classes, std=0.0, name="wide_categories")(categories)
        return y_BK + jnp.sum(wide(weights_BCK), 1).astype(y_BK.dtype)
