"""The laws that every example here keeps, and a data spec of rows in memory for the examples that need one."""

import dataclasses
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from jaxlm.data import InOrder, Shuffled
from jaxlm.data.arrays import ArraySource
from jaxlm.parallel import PlacementSpec
from jaxlm.train import Outcome, Run, train
from jaxlm.train.experiment import Build
from step_helpers import assert_close, assert_same_bits

RUN = Run(steps=6, log_every=1, eval_every=3, save_every=3)

PLACES = {
    "local": PlacementSpec(),
    "pmap": PlacementSpec("pmap"),
    "mesh(4)": PlacementSpec("mesh"),
    "mesh(2, 2)": PlacementSpec("mesh", 2, 2),
}

places = pytest.mark.parametrize(
    "others",
    [("pmap", "mesh(2, 2)"), pytest.param(("mesh(4)",), marks=pytest.mark.slow)],
    ids=["pmap and mesh(2, 2)", "mesh(4)"],
)


@dataclass(frozen=True)
class Rows:
    """Spec: arrays in memory, one row an example, each with a PRNG key of its own."""

    batch: int = 8
    eval_batch: int = 8

    def arrays(self) -> dict[str, np.ndarray]:
        """Return what training and evaluation see; the first array is what a model is initialised with."""
        raise NotImplementedError

    def check(self, model: Any, repeat: int = 1) -> None:
        """Accept any model."""

    def train(self, seed: int = 0, noise: int | None = None) -> Shuffled:
        """Return the training data."""
        return Shuffled(ArraySource(self.arrays()), self.batch, seed, noise, keys=True)

    def eval(self) -> InOrder:
        """Return the evaluation data."""
        return InOrder(ArraySource(self.arrays()), self.eval_batch, keys=True)

    def example(self) -> np.ndarray:
        """Return a row of the first array."""
        return next(iter(self.arrays().values()))[:1]

    def artefacts(self) -> dict[str, str]:
        """Return no files."""
        return {}

    def log_lines(self) -> list[str]:
        """Return no lines."""
        return []

    def throughput(self) -> tuple[int, str]:
        """Return what one training batch counts as."""
        return self.batch, "examples"


def records(folder: Path) -> list[dict[str, float]]:
    """Return the records of a run without its times."""
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if not k.startswith("time/")} for line in lines]


def trained(build: Build, config: Any, folder: Path) -> Outcome:
    """Train, and again from the checkpoint at half of the updates: both end in the same bits and the same records."""
    whole = train(build, config, folder / "whole")
    shutil.copytree(folder / "whole", folder / "killed")
    shutil.rmtree(folder / "killed" / "checkpoints" / str(config.run.steps))
    resumed = train(build, config, folder / "killed")
    assert resumed[1:4] == whole[1:4] == (config.run.steps, "finished", None)
    assert_same_bits(resumed.state, whole.state)
    assert records(folder / "killed") == records(folder / "whole")
    return whole


def keeps_the_laws(
    build: Build, config: Any, folder: Path, others: tuple[str, ...], tolerance: float = 1e-5
) -> tuple[Any, list[dict[str, float]]]:
    """Check that a run resumes to the same bits under each placement, and that the placements agree.

    Returns:
        The last state on one device, and its records.
    """
    found = {}
    for name in ("local", *others):
        placed = dataclasses.replace(config, place=PLACES[name])
        state = placed.place.build().fetch(trained(build, placed, folder / name).state)
        found[name] = state, records(folder / name / "whole")
    local, expected = found["local"]
    assert not any(np.isnan(leaf).any() for leaf in floats(local))
    for name in others:
        state, recorded = found[name]
        assert_close(floats(state), floats(local), tolerance)
        for one, other in zip(recorded, expected, strict=True):
            assert one == pytest.approx(other, rel=10 * tolerance, abs=10 * tolerance)
    return local, expected


def floats(state: Any) -> list[np.ndarray]:
    """Return the leaves of a state that are floating-point."""
    return [leaf for leaf in jax.tree.leaves(state) if jax.numpy.issubdtype(leaf.dtype, jax.numpy.floating)]
