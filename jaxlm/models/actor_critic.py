"""A policy and the value of what it sees: the two networks of an actor-critic agent.

B batch, H height, W width, C channels, F features, A actions.
"""

import math
from typing import Literal

import flax.linen as nn
import jax

from jaxlm.nn.conv import Conv
from jaxlm.nn.linear import Dense
from jaxlm.nn.module import Module
from jaxlm.nn.policy_head import Categorical, DiagonalGaussian, PolicyHead
from jaxlm.nn.running_norm import RunningNorm


class ActorCritic(Module):
    """Choose actions and estimate values from observations: vectors, or small images where there are `channels`.

    Actor and critic are networks of their own behind the same convolutions. Kernels are orthogonal (Saxe et al. 2014,
    arXiv:1312.6120), as Huang et al. 2022 ("The 37 implementation details of PPO", detail 2) found to matter.

    Attributes:
        actions: to choose from, or numbers of an action.
        continuous: whether an action is real numbers.
        hidden: width of each hidden layer of the actor, and of the critic.
        channels: of 3x3 convolutions without padding, each with a ReLU, for observations [H, W, C]; none for vectors.
        activation: of the hidden layers.
        normalise: standardise observations by moments that are counted in training, see `RunningNorm`.
    """

    actions: int
    continuous: bool = False
    hidden: tuple[int, ...] = (64, 64)
    channels: tuple[int, ...] = ()
    activation: Literal["tanh", "relu"] = "tanh"
    normalise: bool = False

    def setup(self) -> None:
        """Name the layers."""
        if self.normalise:
            self.norm = RunningNorm()
        valid = ((0, 0), (0, 0))
        self.convolutions = [Conv(width, padding=valid, bias=True) for width in self.channels]
        self.actor = [self._layer(width) for width in self.hidden]
        self.critic = [self._layer(width) for width in self.hidden]
        self.head = PolicyHead(self.actions, self.continuous)
        self.out = Dense(1, kernel_init=nn.initializers.orthogonal(1.0))

    def _layer(self, width: int) -> Dense:
        return Dense(width, kernel_init=nn.initializers.orthogonal(math.sqrt(2)))

    def __call__(self, observation: jax.Array) -> tuple[Categorical | DiagonalGaussian, jax.Array]:
        """Return the distribution over actions and the value of each observation.

        Args:
            observation: float32 [B, F] or [B, H, W, C].

        Returns:
            (distribution [B, A], value float32 [B])
        """
        x_BF = self._features(observation)
        return self._policy(x_BF), self._value(x_BF)

    def policy(self, observation: jax.Array) -> Categorical | DiagonalGaussian:
        """Return the distribution over actions alone."""
        return self._policy(self._features(observation))

    def value(self, observation: jax.Array) -> jax.Array:
        """Return the values alone; float32 [B]."""
        return self._value(self._features(observation))

    def _features(self, observation: jax.Array) -> jax.Array:
        x = self.norm(observation) if self.normalise else observation
        for convolution in self.convolutions:
            x = nn.relu(convolution(x))
        return x.reshape(x.shape[0], -1)

    def _policy(self, x_BF: jax.Array) -> Categorical | DiagonalGaussian:
        return self.head(self._hidden(self.actor, x_BF))

    def _value(self, x_BF: jax.Array) -> jax.Array:
        return self.out(self._hidden(self.critic, x_BF))[:, 0].astype("float32")

    def _hidden(self, layers: list[Dense], x_BF: jax.Array) -> jax.Array:
        activate = nn.tanh if self.activation == "tanh" else nn.relu
        for layer in layers:
            x_BF = activate(layer(x_BF))
        return x_BF
