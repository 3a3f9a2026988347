"""Read transitions of an environment from a file, for an agent that learns without acting."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from jaxlm.data.agents.episodes import Episodes
from jaxlm.data.arrays import NOT_NPZ, ArraySource
from jaxlm.data.order import InOrder, Shuffled
from jaxlm.errors import BadInput

COLUMNS = ("observation", "action", "reward", "terminated", "next_observation")


@dataclass(frozen=True, kw_only=True)
class RecordedTransitions:
    """Spec: transitions of a file to learn from, and an environment to evaluate in.

    The file is an .npz, as scripts/record_episodes.py writes it, with arrays of N rows: "observation" and
    "next_observation" float32 [N, ...], "action" int32 [N], "reward" float32 [N] and "terminated" bool [N]. A training
    batch has B of these rows, with "keys" uint32 [B, 2]. Evaluation batches are those of `Episodes`.

    Attributes:
        path: of the file.
        environment: that the transitions are of, see `jaxlm.environments`.
        batch: transitions in a training batch.
        eval_episodes: see `Episodes`.
        eval_batch: see `Episodes`.
    """

    path: str
    environment: Any
    batch: int = 128
    eval_episodes: int = 100
    eval_batch: int | None = None

    @property
    def _played(self) -> Episodes:
        episodes, batch = self.eval_episodes, self.eval_batch
        return Episodes(environment=self.environment, environments=1, eval_episodes=episodes, eval_batch=batch)

    def check(self, model: Any, repeat: int = 1) -> None:
        """Raise BadInput where the file cannot be read or is of another environment, or a model does not fit."""
        self._played.check(model, repeat)
        self.train()

    def train(self, seed: int = 0, noise: int | None = None) -> Shuffled:
        """Return the training batches: every epoch is a new order of all transitions."""
        return Shuffled(ArraySource(self._read()), self.batch, seed, noise, keys=True)

    def eval(self) -> InOrder:
        """Return the evaluation batches: "keys" uint32 [B, 2], and "mask" float32 [B], 0 on padding."""
        return self._played.eval()

    def example(self) -> np.ndarray:
        """Return an observation; float32 zeros [1, *shape]."""
        return self._played.example()

    def artefacts(self) -> dict[str, str]:
        """Return no files."""
        return {}

    def log_lines(self) -> Sequence[str]:
        """Return lines about the file and the environment."""
        found, name = self._read(), type(self.environment).__name__
        line = f"train data: {len(found['reward']):,} transitions, mean reward {found['reward'].mean():.3g}"
        ends = f"{int(found['terminated'].sum()):,} ended the task"
        return [f"{line}, {ends}", f"eval data: {self.eval_episodes:,} episodes of {name}"]

    def throughput(self) -> tuple[int, str]:
        """Return what one training batch counts as."""
        return self.batch, "rows"

    def _read(self) -> Mapping[str, np.ndarray]:
        shape = tuple(self.environment.observation_space.shape)
        return read_transitions(self.path, shape, self.environment.action_space.size)


@lru_cache(maxsize=4)
def read_transitions(path: str, shape: tuple[int, ...], actions: int) -> Mapping[str, np.ndarray]:
    """Return the arrays of a file of transitions, checked.

    Args:
        path: an .npz.
        shape: of an observation.
        actions: how many there are to choose from.

    Raises:
        BadInput: the file cannot be read, lacks an array, or is of another environment.
    """
    try:
        with np.load(Path(path).expanduser(), allow_pickle=False) as stored:
            found = {name: stored[name] for name in COLUMNS if name in stored}
    except NOT_NPZ as error:
        raise BadInput(f"{path} cannot be read as an .npz of transitions: {error}") from None
    if missing := [name for name in COLUMNS if name not in found]:
        raise BadInput(f"{path} has no array {', '.join(missing)}: write it with scripts/record_episodes.py")
    rows = len(found["reward"]) if found["reward"].ndim else 0
    for name, x in found.items():
        expected = (rows, *shape) if "observation" in name else (rows,)
        if x.shape != expected or not rows:
            raise BadInput(f"{path}: {name} is {list(x.shape)} and must be {list(expected)}, with a row or more")
        if not np.isfinite(np.asarray(x, np.float64)).all():
            raise BadInput(f"{path}: {name} has a number that is not finite, first in row {_first_odd(x)}")
    if found["action"].min() < 0 or found["action"].max() >= actions:
        raise BadInput(f"{path} has actions {found['action'].min()} to {found['action'].max()}, not 0 to {actions - 1}")
    kinds = {"action": np.int32, "terminated": bool}
    return {name: np.ascontiguousarray(x, kinds.get(name, np.float32)) for name, x in found.items()}


def _first_odd(x: np.ndarray) -> int:
    return int(np.argwhere(~np.isfinite(np.asarray(x, np.float64)))[0][0])
