"""Deep Q-learning: loss and gradient against PyTorch, and the value of a task that a time limit cuts."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlm import steps
from jaxlm.environments import Box, Discrete, TimeStep, rollout, start
from jaxlm.environments.off_policy.replay import ReplaySpec, n_step, start_replay
from jaxlm.errors import BadInput
from jaxlm.losses import DQN
from jaxlm.losses.q_learning import temporal_difference
from jaxlm.models.q_network import QNetwork

ROWS, INPUTS, ACTIONS = 12, 3, 4


def make_transitions(seed=0):
    draw = np.random.default_rng(seed)
    batch = {
        "observation": draw.normal(size=(ROWS, INPUTS)),
        "next_observation": draw.normal(size=(ROWS, INPUTS)),
        "return": 2 * draw.normal(size=ROWS),
        "bootstrap": 0.9 * (draw.random(ROWS) < 0.7),
        "weight": draw.random(ROWS),
    }
    batch = {name: x.astype(np.float32) for name, x in batch.items()}
    return batch | {"action": draw.integers(0, ACTIONS, ROWS).astype(np.int32)}


@pytest.mark.parametrize("duelling", [False, True])
@pytest.mark.parametrize("double", [False, True])
def test_loss_and_gradient_are_those_of_torch(double, duelling):
    torch = pytest.importorskip("torch")
    model, batch = QNetwork(ACTIONS, (5, 6), duelling), make_transitions()
    params, target = (model.init(jax.random.key(seed), batch["observation"])["params"] for seed in (0, 1))

    def tensors(tree):
        return jax.tree.map(lambda x: torch.tensor(np.asarray(x), requires_grad=True), tree)

    def values(tree, x):
        def layer(name, x):
            return x @ tree[name]["kernel"] + tree[name]["bias"]

        x = torch.relu(layer("hidden_0", x))
        if not duelling:
            return layer("head", torch.relu(layer("hidden_1", x)))
        value = layer("value", torch.relu(layer("value_hidden", x)))
        advantage = layer("advantage", torch.relu(layer("advantage_hidden", x)))
        return value + advantage - advantage.mean(1, keepdim=True)

    online, other = tensors(params), tensors(target)
    of = {name: torch.tensor(x) for name, x in batch.items()}
    with torch.no_grad():
        best = values(online if double else other, of["next_observation"]).argmax(1)
        later = values(other, of["next_observation"])[torch.arange(ROWS), best]
        goal = of["return"] + of["bootstrap"] * later
    found = values(online, of["observation"])[torch.arange(ROWS), of["action"].long()]
    each = torch.nn.functional.huber_loss(found, goal, reduction="none", delta=1.0)
    expected = (each * of["weight"]).sum() / of["weight"].sum()
    expected.backward()

    loss = DQN(double=double)(model)
    grad = jax.jit(steps.grad(loss))
    grads, metrics, _ = grad(params, {"target": target}, batch, jax.random.key(0))
    assert steps.compute(metrics)["loss"] == pytest.approx(float(expected.detach()), rel=1e-5)
    scale = float(metrics["loss"].weight)
    jax.tree.map(lambda g, t: np.testing.assert_allclose(g / scale, t.grad, rtol=1e-5, atol=1e-6), grads, online)


@dataclass(frozen=True)
class Paid:
    """A reward of 1 a step: for ever, though cut after two steps, or until the task ends after two."""

    ends: bool

    observation_space = Box(0.0, 1.0, (2,))
    action_space = Discrete(1)

    def reset(self, key):
        return jnp.zeros((), jnp.int32), jax.nn.one_hot(0, 2)

    def step(self, state, action, key):
        over = state == 1
        seen = jax.nn.one_hot(jnp.minimum(state + 1, 1) if self.ends else 0, 2)
        return state + 1, TimeStep(seen, jnp.ones(()), over & self.ends, over & (not self.ends))


class Table:
    """A model that is a table of the value of each place."""

    def apply(self, variables, observation):
        return observation @ variables["params"]


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize(("ends", "values"), [(False, [2.0, 0.0]), (True, [1.5, 1.0])])
def test_the_value_goes_on_through_a_time_limit_and_ends_with_the_task(ends, values, n):
    worlds = start(Paid(ends), jax.random.split(jax.random.key(0), 2))
    keys = jax.random.split(jax.random.key(1), 2)
    nothing = jnp.zeros(2, jnp.int32)
    _, moves = rollout(Paid(ends), lambda *_: (nothing, None), worlds, keys, 12)
    batch = n_step(start_replay(moves, 12), np.tile(np.arange(8), (2, 1)), n, 0.5)
    table, difference = jnp.zeros((2, 1)), temporal_difference(Table(), double=True)
    for _ in range(40):
        error = difference(table, table, batch)
        table = table.at[batch["observation"].argmax(1), 0].add(error / 8)
    np.testing.assert_allclose(table[:, 0], values, atol=0.02)


def test_epsilon_falls_and_stays():
    spec = DQN(first_epsilon=1.0, last_epsilon=0.1, explore=0.5)
    found = [float(spec.epsilon(jnp.float32(done))) for done in (0, 0.25, 0.5, 1)]
    assert found == pytest.approx([1.0, 0.55, 0.1, 0.1])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"discount": 1.5}, "loss.discount is 1.5: it is a share from 0 to 1"),
        ({"target_every": 0}, "loss.target_every is 0: it must be at least 1"),
        ({"huber": 0.0}, "loss.huber is 0.0"),
        ({"acts": 51}, "loss.acts is 51"),
        ({"replay": ReplaySpec(batch=3)}, "replay.batch is 3"),
    ],
)
def test_numbers_that_cannot_be_are_refused(fields, message):
    with pytest.raises(BadInput, match=message):
        DQN(**{"replay": ReplaySpec(capacity=100, prefill=20, batch=8), **fields}).check(2)
