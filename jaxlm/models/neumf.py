"""NeuMF, and its parts GMF and MLP: networks over the vectors of a user and an item.

B users, K items of each, I items in all, D width of a vector, H width of a layer.
"""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxlm.errors import BadInput
from jaxlm.models.factorization import VECTOR_STD, vector_table
from jaxlm.nn.dropout import Dropout
from jaxlm.nn.linear import Dense, broadcast
from jaxlm.nn.module import Module


class NeuMF(Module):
    """Score an item by networks over its vectors and the user's (He et al. 2017, arXiv:1708.05031, section 3).

    Without hidden layers it is GMF, a weighted dot product (equation 9); with `factors` 0 it is the MLP (equation 10);
    with both it is NeuMF (equation 12), in which they have vectors of their own.

    Attributes:
        users: number of users.
        items: number of items.
        factors: width of the vectors that are multiplied; 0: none.
        width: width of the vectors that the hidden layers take.
        hidden: width of each hidden layer, with a ReLU.
        std: of the initial vectors.
        dropout: rate on the input of each hidden layer in training; it needs an rng named "dropout".
        inputs: entries of a batch that the model takes.
    """

    users: int
    items: int
    factors: int = 8
    width: int = 32
    hidden: tuple[int, ...] = (32, 16, 8)
    std: float = VECTOR_STD
    dropout: float = 0.0

    hyperparameters = ("dropout",)
    may_be_zero = ("factors",)
    inputs: ClassVar[tuple[str, ...]] = ("user",)

    @nn.compact
    def __call__(self, users_B: jax.Array, items: jax.Array | None = None, *, train: bool = False) -> jax.Array:
        """Return the scores of some items of each user, [B, K], or of all, [B, I]; see `MatrixFactorization`."""
        self.validate()
        users_B1 = users_B[:, None]
        items = jnp.arange(self.items)[None] if items is None else items
        features = []
        if self.factors:
            user_B1D = vector_table(self.users, self.factors, self.std, "user_table")(users_B1)
            item_BKD = vector_table(self.items, self.factors, self.std, "item_table")(items)
            features.append(jnp.multiply(*_paired(user_B1D, item_BKD)))
        if self.hidden:
            drop = Dropout(self.dropout, deterministic=not train)
            user_B1D = drop(vector_table(self.users, self.width, self.std, "user_table_of_layers")(users_B1))
            item_BKD = drop(vector_table(self.items, self.width, self.std, "item_table_of_layers")(items))
            # the first layer of both vectors side by side, computed once for each of them
            user_B1H = Dense(self.hidden[0], name="user_hidden")(user_B1D)
            item_BKH = Dense(self.hidden[0], bias=False, name="item_hidden")(item_BKD)
            x_BKH = nn.relu(jnp.add(*_paired(user_B1H, item_BKH)))
            for number, width in enumerate(self.hidden[1:], 1):
                layer = Dense(width, kernel_init=nn.initializers.he_normal(), name=f"hidden_{number}")
                x_BKH = nn.relu(layer(drop(x_BKH)))
            features.append(x_BKH)
        return Dense(1, name="head")(jnp.concatenate(features, -1))[..., 0]

    def validate(self) -> None:
        """Check the fields as every model does; one of both parts must be there."""
        super().validate()
        if not self.factors and not self.hidden:
            raise BadInput("model.factors is 0 and model.hidden is empty: give one of them, or both")


def _paired(users_B1D: jax.Array, items_BKD: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return both for each pair of a user and an item, [B, K, D]; their gradients are summed in float32."""
    shape = jnp.broadcast_shapes(users_B1D.shape, items_BKD.shape)
    return broadcast(users_B1D, shape), broadcast(items_BKD, shape)
