"""An experiment that compiles in a moment: a net of sixteen numbers on 64 rows, with noise at every update."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from jaxlm import steps
from jaxlm.data import InOrder, Shuffled
from jaxlm.data.arrays import ArraySource
from jaxlm.parallel import Placement
from jaxlm.steps import Mean
from jaxlm.train import Config, Evaluation, Experiment, main


@dataclass(frozen=True)
class Rows:
    """Spec: 64 rows of three features and a target."""

    batch: int = 8

    def table(self) -> ArraySource:
        """Return the rows."""
        draw = np.random.default_rng(0)
        x = draw.normal(size=(64, 3)).astype(np.float32)
        return ArraySource({"x": x, "y": np.sin(x.sum(-1)).astype(np.float32)})


def loss(params, variables, batch, key, *, train):
    """Squared error of a network with one hidden layer, with noise on the inputs while training."""
    x = batch["x"] + (0.1 * jax.random.normal(key, batch["x"].shape) if train else 0)
    error = jnp.tanh(x @ params["hidden"]) @ params["out"] - batch["y"]
    mask = batch.get("mask", jnp.ones_like(error))
    return {"loss": Mean((error**2 * mask).sum(), mask.sum())}, variables


def build(config: Config, place: Placement) -> Experiment:
    """Compose the run."""
    tx = config.optim(config.run.steps)

    def init(key):
        hidden, out = jax.random.split(key)
        params = {"hidden": jax.random.normal(hidden, (3, 4)), "out": jax.random.normal(out, (4,))}
        return steps.new_state(params, tx, key)

    seeds = config.run.seeds
    return Experiment(
        init=init,
        step=steps.update(place.reduce(steps.grad(loss)), tx),
        train_data=Shuffled(config.data.table(), config.data.batch, seeds.data, seeds.noise, keys=True),
        evaluations={
            "eval": Evaluation(InOrder(config.data.table(), config.data.batch, keys=True), steps.evaluate(loss))
        },
    )


if __name__ == "__main__":
    main(build)
