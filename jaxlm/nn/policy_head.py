"""What an agent does as a distribution over actions: one of several, or real numbers."""

import math
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxlm.nn.linear import Dense, broadcast
from jaxlm.nn.module import Module


class Categorical(NamedTuple):
    """A distribution over actions 0 to A - 1.

    Attributes:
        logits: float32 [..., A].
    """

    logits: jax.Array

    def sample(self, key: jax.Array) -> jax.Array:
        """Draw an action; int32 [...]."""
        return jax.random.categorical(key, self.logits)

    def mode(self) -> jax.Array:
        """Return the likeliest action; int32 [...]."""
        return jnp.argmax(self.logits, -1)

    def log_prob(self, action: jax.Array) -> jax.Array:
        """Return the logarithm of the probability of actions int32 [...]; float32 [...]."""
        chosen = jax.nn.one_hot(action, self.logits.shape[-1])  # a look-up has a slow gradient
        return (chosen * jax.nn.log_softmax(self.logits)).sum(-1)

    def entropy(self) -> jax.Array:
        """Return the entropy in nats; float32 [...]."""
        logs = jax.nn.log_softmax(self.logits)
        return -(jnp.exp(logs) * logs).sum(-1)


class DiagonalGaussian(NamedTuple):
    """A distribution over A independent real numbers.

    Attributes:
        mean: float32 [..., A].
        log_std: float32 [..., A].
    """

    mean: jax.Array
    log_std: jax.Array

    def sample(self, key: jax.Array) -> jax.Array:
        """Draw an action; float32 [..., A]."""
        return self.mean + jnp.exp(self.log_std) * jax.random.normal(key, self.mean.shape)

    def mode(self) -> jax.Array:
        """Return the likeliest action; float32 [..., A]."""
        return self.mean

    def log_prob(self, action: jax.Array) -> jax.Array:
        """Return the logarithm of the density of actions float32 [..., A]; float32 [...]."""
        scaled = (action - self.mean) * jnp.exp(-self.log_std)
        return -(0.5 * scaled**2 + self.log_std + 0.5 * math.log(2 * math.pi)).sum(-1)

    def entropy(self) -> jax.Array:
        """Return the differential entropy in nats; float32 [...]."""
        return (self.log_std + 0.5 * math.log(2 * math.pi * math.e)).sum(-1)


class PolicyHead(Module):
    """Turn features [B, F] into a distribution over actions, near to uniform or to a mean of 0 at first.

    Attributes:
        actions: to choose from, or numbers of an action.
        continuous: whether an action is real numbers. Their standard deviations are parameters, the same for every
            observation, and 1 at first (Schulman et al. 2017, section 6.1).
    """

    actions: int
    continuous: bool = False

    @nn.compact
    def __call__(self, x_BF: jax.Array) -> Categorical | DiagonalGaussian:
        """Return the distribution."""
        outputs = Dense(self.actions, kernel_init=nn.initializers.orthogonal(0.01), name="out")(x_BF)
        outputs_BA = outputs.astype(jnp.float32)
        if not self.continuous:
            return Categorical(outputs_BA)
        log_std_A = self.param("log_std", nn.initializers.zeros, (self.actions,), jnp.float32)
        return DiagonalGaussian(outputs_BA, broadcast(log_std_A.astype(jnp.float32), outputs_BA.shape))
