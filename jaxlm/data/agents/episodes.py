"""Data of an experiment that learns by acting in an environment: PRNG keys to act with, and of episodes to play."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxlm.data.draws import Draws, NoArrays
from jaxlm.data.model_checks import read_size
from jaxlm.data.order import InOrder
from jaxlm.errors import BadInput


@dataclass(frozen=True, kw_only=True)
class Episodes:
    """Spec: an environment, with a PRNG key for each copy of it that an agent acts in.

    Training batch i is {"keys": uint32 [environments, 2]}, a function of (seed, i): what happens by chance in update i.
    Evaluation batches have the "keys" of episodes, each played once in an environment of its own, and "mask".

    Attributes:
        environment: see `jaxlm.environments`; without a batch axis.
        environments: copies of it that the agent acts in at the same time.
        eval_episodes: episodes of an evaluation, the same in every one.
        eval_batch: episodes that are played at the same time; None: all of them.
    """

    environment: Any
    environments: int = 8
    eval_episodes: int = 100
    eval_batch: int | None = None

    def check(self, model: Any, repeat: int = 1) -> None:
        """Raise BadInput for numbers below 1, or unless a model has an output (`actions`) for each action.

        Args:
            model: its `actions` is how many actions there are to choose from, or how many numbers an action has.
            repeat: any.
        """
        del repeat
        self.train()
        self.eval()
        needed, actions = self.environment.action_space.size, read_size(model, "actions")
        if actions != needed:
            raise BadInput(f"{self._name} needs {needed} actions and the model has {actions}: --model.actions {needed}")

    @property
    def _name(self) -> str:
        return type(self.environment).__name__

    def train(self, seed: int = 0, noise: int | None = None) -> Draws:
        """Return the training batches; they are noise alone, and follow `seed` only where `noise` is None."""
        return Draws(self.environments, seed if noise is None else noise)

    def eval(self) -> InOrder:
        """Return the evaluation batches: "keys" uint32 [B, 2], and "mask" float32 [B], 0 on padding."""
        return InOrder(NoArrays(self.eval_episodes), self.eval_batch or self.eval_episodes, keys=True)

    def example(self) -> np.ndarray:
        """Return an observation; float32 zeros [1, *shape]."""
        return np.zeros((1, *self.environment.observation_space.shape), np.float32)

    def artefacts(self) -> dict[str, str]:
        """Return no files."""
        return {}

    def log_lines(self) -> Sequence[str]:
        """Return a line that says what is acted in."""
        shape, actions = self.environment.observation_space.shape, self.environment.action_space
        return [
            f"data: {self.environments:,} copies of {self._name}, observations {list(shape)}, {actions}; "
            f"{self.eval_episodes:,} episodes an evaluation"
        ]

    def throughput(self) -> tuple[int, str]:
        """Return what one training batch counts as: a step of each environment, where an update takes one."""
        return self.environments, "steps"
