"""Environments that an agent acts in, as pure functions, and the loop that acts in many of them."""

from jaxlm.environments.cartpole import CartPole
from jaxlm.environments.protocol import Box, Discrete, Environment, TimeStep
from jaxlm.environments.rollout import Policy, Transitions, Worlds, advance, play, rollout, start

__all__ = [
    "Box",
    "CartPole",
    "Discrete",
    "Environment",
    "Policy",
    "TimeStep",
    "Transitions",
    "Worlds",
    "advance",
    "play",
    "rollout",
    "start",
]
