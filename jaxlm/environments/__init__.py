"""Environments that an agent acts in, as pure functions, and the loop that acts in many of them."""

from jaxlm.environments.acrobot import Acrobot
from jaxlm.environments.breakout import Breakout
from jaxlm.environments.cartpole import CartPole
from jaxlm.environments.catch import Catch
from jaxlm.environments.check import check_environment, random_action
from jaxlm.environments.mountain_car import MountainCar
from jaxlm.environments.pendulum import Pendulum
from jaxlm.environments.protocol import Box, Discrete, Environment, TimeStep
from jaxlm.environments.rollout import Policy, advance, play, rollout, start
from jaxlm.environments.worlds import Transitions, Worlds
from jaxlm.environments.wrappers.brax import Brax
from jaxlm.environments.wrappers.gymnax import Gymnax
from jaxlm.environments.wrappers.host import Gymnasium

__all__ = [
    "Acrobot",
    "Box",
    "Brax",
    "Breakout",
    "CartPole",
    "Catch",
    "Discrete",
    "Environment",
    "Gymnasium",
    "Gymnax",
    "MountainCar",
    "Pendulum",
    "Policy",
    "TimeStep",
    "Transitions",
    "Worlds",
    "advance",
    "check_environment",
    "play",
    "random_action",
    "rollout",
    "start",
]
