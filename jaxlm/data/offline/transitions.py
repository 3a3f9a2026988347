"""Read transitions of an environment from a file, for an agent that learns without acting."""

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from jaxlm.data.arrays import ArraySource
from jaxlm.data.episodes import Episodes
from jaxlm.data.order import Shuffled
from jaxlm.errors import BadInput

COLUMNS = ("observation", "action", "reward", "terminated", "next_observation")


@dataclass(frozen=True, kw_only=True)
class RecordedTransitions(Episodes):
    """Spec: transitions of a file to learn from, and an environment to evaluate in; see `Episodes`.

    The file is an .npz, as scripts/record_episodes.py writes it, with arrays of N rows: "observation" and
    "next_observation" float32 [N, ...], "action" int32 [N], "reward" float32 [N] and "terminated" bool [N]. A training
    batch has B of these rows, with "keys" uint32 [B, 2].

    Attributes:
        path: of the file.
        batch: transitions in a training batch.
    """

    path: str
    batch: int = 128

    def train(self, seed: int = 0, noise: int | None = None) -> Shuffled:  # type: ignore[override]
        """Return the training batches: every epoch is a new order of all transitions."""
        return Shuffled(ArraySource(self._read()), self.batch, seed, noise, keys=True)

    def _read(self) -> Mapping[str, np.ndarray]:
        shape = tuple(self.environment.observation_space.shape)
        return read_transitions(self.path, shape, self.environment.action_space.size)

    def log_lines(self) -> Sequence[str]:
        """Return lines about the file and the environment."""
        found = self._read()
        line = f"train data: {len(found['reward']):,} transitions, mean reward {found['reward'].mean():.3g}"
        return [f"{line}, {int(found['terminated'].sum()):,} ended the task", *super().log_lines()]

    def throughput(self) -> tuple[int, str]:
        """Return what one training batch counts as."""
        return self.batch, "rows"


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
    except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
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
