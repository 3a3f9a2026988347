"""The value of each action in a state.

B batch, A actions, F features.
"""

import flax.linen as nn
import jax

from jaxlm.nn.linear import Dense, wide
from jaxlm.nn.module import Module


class QNetwork(Module):
    """Estimate the return after each of some actions: observations [B, ...] to values [B, actions].

    Attributes:
        actions: how many there are to choose from.
        hidden: width of each hidden layer, an affine map and a ReLU.
        duelling: add the value of the state to each action's advantage over the mean of all, from two hidden layers
            of their own in the place of the last one (Wang et al. 2016, arXiv:1511.06581, equation 9).
    """

    actions: int
    hidden: tuple[int, ...] = (128, 128)
    duelling: bool = False

    @nn.compact
    def __call__(self, observation: jax.Array) -> jax.Array:
        """Return the value of each action, [B, actions], float32."""
        x_BF = observation.reshape(observation.shape[0], -1)
        shared = self.hidden[:-1] if self.duelling else self.hidden
        for number, width in enumerate(shared):
            x_BF = _layer(width, f"hidden_{number}", x_BF)
        if not self.duelling:
            return wide(Dense(self.actions, name="head")(x_BF))
        width = self.hidden[-1]
        value_B1 = wide(Dense(1, name="value")(_layer(width, "value_hidden", x_BF)))
        advantage_BA = wide(Dense(self.actions, name="advantage")(_layer(width, "advantage_hidden", x_BF)))
        return value_B1 + advantage_BA - advantage_BA.mean(1, keepdims=True)


def _layer(width: int, name: str, x_BF: jax.Array) -> jax.Array:
    return nn.relu(Dense(width, kernel_init=nn.initializers.he_normal(), name=name)(x_BF))
