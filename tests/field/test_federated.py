"""Federated averaging (McMahan et al. 2017, arXiv:1602.05629) as a gradient: clients train, the server averages."""

import dataclasses
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from harness import RUN, Rows, keeps_the_laws, places

from jaxlm import steps
from jaxlm.optim import SGD
from jaxlm.steps import Mean
from jaxlm.train import Config, Evaluation, Experiment


@dataclass(frozen=True)
class Clients(Rows):
    """Each row is a client: three batches of five examples, of which it has only some."""

    def arrays(self):
        draw = np.random.default_rng(0)
        x, y = draw.normal(size=(12, 3, 5, 2)), draw.normal(size=(12, 3, 5))
        return {
            "x": x.astype(np.float32),
            "y": y.astype(np.float32),
            "has": (draw.random(y.shape) < 0.7) * np.float32(1),
        }


def loss(params, variables, batch, key, *, train):
    error = (batch["x"] @ params["w"] - batch["y"]) ** 2 * batch["has"]
    return {"loss": Mean(error.sum(), batch["has"].sum())}, variables


def federated(local, tx):
    """Sum n (w - w_client) over clients of n examples: a server that descends it at a rate of 1 averages them."""

    def client(params, batches, key):
        state, metrics = jax.lax.scan(local, steps.new_state(params, tx, key), batches)
        return state.params, {"loss": jax.tree.map(jnp.sum, metrics["loss"])}

    def grad(params, variables, batch, key):
        batches = {name: batch[name] for name in ("x", "y", "has")}
        trained, metrics = jax.vmap(client, (None, 0, None))(params, batches, key)
        apart = jax.tree.map(lambda w, own: jnp.tensordot(metrics["loss"].weight, w[None] - own, 1), params, trained)
        return apart, jax.tree.map(jnp.sum, metrics), variables

    return grad


def build(config, place):
    local, server = SGD(peak_lr=0.1, schedule="constant")(1), config.optim(config.run.steps)
    grad = steps.accumulate(federated(steps.update(steps.grad(loss), local), local), config.run.accumulate)
    return Experiment(
        init=lambda key: steps.new_state({"w": jnp.ones(2)}, server, key),
        step=steps.update(place.reduce(grad), server),
        train_data=config.data.train(config.run.seeds.data),
        evaluations={"eval": Evaluation(config.data.eval(), steps.evaluate(loss))},
        composes=("accumulate",),
    )


CONFIG = Config(model=None, data=Clients(), optim=SGD(peak_lr=1.0, schedule="constant"), run=RUN)


def by_hand(steps):
    """The same in NumPy."""
    data, w = CONFIG.data.train(), np.ones(2)
    for step in range(steps):
        batch = {name: x.astype(np.float64) for name, x in data[step].items()}
        trained, sizes = [], batch["has"].sum((1, 2))
        for x, y, has in zip(batch["x"], batch["y"], batch["has"], strict=True):
            own = w.copy()
            for i in range(len(x)):
                own -= 0.1 * 2 * ((x[i] @ own - y[i]) * has[i]) @ x[i] / max(has[i].sum(), 1)
            trained.append(own)
        w = np.average(trained, axis=0, weights=sizes)
    return w


@places
@pytest.mark.parametrize("parts", [1, 2])
def test_federated_averaging(parts, others, tmp_path):
    config = dataclasses.replace(CONFIG, run=dataclasses.replace(RUN, accumulate=parts))
    state, _ = keeps_the_laws(build, config, tmp_path, others)
    np.testing.assert_allclose(state.params["w"], by_hand(6), rtol=1e-5)
