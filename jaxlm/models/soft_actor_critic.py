"""A policy of real numbers and two opinions of what its actions are worth.

B batch, A numbers of an action, F features.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxlm.nn.linear import Dense, wide
from jaxlm.nn.module import Module
from jaxlm.nn.policy_head import DiagonalGaussian

LOG_STD_RANGE = (-5.0, 2.0)


class SoftActorCritic(Module):
    """Two nets with parameters of their own, `act` and `judge`, each initialised by its method.

    Attributes:
        actions: numbers of an action.
        hidden: width of each hidden layer, an affine map and a ReLU, of the policy and of each of the two critics.
    """

    actions: int
    hidden: tuple[int, ...] = (256, 256)

    @nn.compact
    def act(self, observation: jax.Array) -> DiagonalGaussian:
        """Return the distribution whose hyperbolic tangent is the action, of observations [B, ...]."""
        x_BF = self._layers(observation.reshape(observation.shape[0], -1), "actor")
        mean_BA, log_std_BA = jnp.split(wide(Dense(2 * self.actions, name="actor_head")(x_BF)), 2, axis=-1)
        least, most = LOG_STD_RANGE
        return DiagonalGaussian(mean_BA, least + (most - least) * (jnp.tanh(log_std_BA) + 1) / 2)

    @nn.compact
    def judge(self, observation: jax.Array, action: jax.Array) -> jax.Array:
        """Return what each of two critics expects after actions [B, A] from -1 to 1; float32 [2, B]."""
        x_BF = jnp.concatenate([observation.reshape(observation.shape[0], -1), action.astype(observation.dtype)], 1)
        values = [Dense(1, name=f"{name}_head")(self._layers(x_BF, name))[:, 0] for name in ("critic_0", "critic_1")]
        return wide(jnp.stack(values))

    def _layers(self, x_BF: jax.Array, name: str) -> jax.Array:
        for number, width in enumerate(self.hidden):
            layer = Dense(width, kernel_init=nn.initializers.he_normal(), name=f"{name}_{number}")
            x_BF = nn.relu(layer(x_BF))
        return x_BF

    def __call__(self, observation: jax.Array) -> DiagonalGaussian:
        """Return `act`; the parameters of the critics are those of `init(..., method="judge")`."""
        return self.act(observation)
