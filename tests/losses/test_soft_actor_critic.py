"""Soft actor-critic: the three losses and their gradients against PyTorch, and the density of a squashed action."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlm import steps
from jaxlm.environments import CartPole, Pendulum
from jaxlm.environments.off_policy.replay import ReplaySpec
from jaxlm.environments.off_policy.unit_actions import UnitActions
from jaxlm.errors import BadInput
from jaxlm.losses import SAC
from jaxlm.losses.soft_actor_critic import squashed
from jaxlm.models.soft_actor_critic import LOG_STD_RANGE, SoftActorCritic

ROWS, INPUTS, ACTIONS = 6, 3, 2
MODEL = SoftActorCritic(ACTIONS, (5, 4))


def make_transitions():
    draw = np.random.default_rng(0)
    batch = {
        "observation": draw.normal(size=(ROWS, INPUTS)),
        "next_observation": draw.normal(size=(ROWS, INPUTS)),
        "action": np.tanh(draw.normal(size=(ROWS, ACTIONS))),
        "return": draw.normal(size=ROWS),
        "bootstrap": 0.9 * (draw.random(ROWS) < 0.7),
        "weight": np.ones(ROWS),
        "noise": draw.normal(size=(ROWS, 2, ACTIONS)),
    }
    return {name: x.astype(np.float32) for name, x in batch.items()}


def nets():
    seen, action = jnp.zeros((1, INPUTS)), jnp.zeros((1, ACTIONS))
    actor = MODEL.init(jax.random.key(0), seen, method="act")["params"]
    judges = [MODEL.init(jax.random.key(seed), seen, action, method="judge")["params"] for seed in (1, 2)]
    return {"actor": actor, "critic": judges[0], "target": judges[1], "temperature": jnp.log(0.3)}


def in_torch(torch, parts, batch):
    """The three losses by the formulas of the paper, and the tensors that they are differentiated by."""
    of = {name: torch.tensor(x) for name, x in batch.items()}
    found = jax.tree.map(lambda x: torch.tensor(np.asarray(x), requires_grad=True), parts)
    alpha = found["temperature"].exp()

    def layers(tree, name, x):
        for number in (0, 1):
            x = torch.relu(x @ tree[f"{name}_{number}"]["kernel"] + tree[f"{name}_{number}"]["bias"])
        return x @ tree[f"{name}_head"]["kernel"] + tree[f"{name}_head"]["bias"]

    def judge(tree, x, action):
        both = [layers(tree, f"critic_{k}", torch.cat([x, action], 1))[:, 0] for k in (0, 1)]
        return torch.stack(both)

    def policy(x, noise):
        mean, log_std = layers(found["actor"], "actor", x).chunk(2, 1)
        least, most = LOG_STD_RANGE
        std = (least + (most - least) * (torch.tanh(log_std) + 1) / 2).exp()
        base = torch.distributions.Normal(mean, std)
        squash = torch.distributions.transforms.TanhTransform(cache_size=1)
        action = squash(mean + std * noise)
        return action, torch.distributions.TransformedDistribution(base, [squash]).log_prob(action).sum(1)

    later, log_later = policy(of["next_observation"], of["noise"][:, 1])
    goal = of["return"] + of["bootstrap"] * (judge(found["target"], of["next_observation"], later).min(0).values)
    goal = (goal - of["bootstrap"] * alpha * log_later).detach()
    critic = 0.5 * ((judge(found["critic"], of["observation"], of["action"]) - goal) ** 2).sum(0).mean()
    action, log = policy(of["observation"], of["noise"][:, 0])
    actor = (alpha.detach() * log - judge(found["critic"], of["observation"], action).min(0).values).mean()
    temperature = (-alpha * (log - ACTIONS).detach()).mean()
    return found, {"critic": critic, "actor": actor, "temperature": temperature}


@pytest.mark.parametrize("name", ["critic", "actor", "temperature"])
def test_loss_and_gradient_are_those_of_torch(name):
    torch = pytest.importorskip("torch")
    parts, batch = nets(), make_transitions()
    tensors, losses = in_torch(torch, parts, batch)
    losses[name].backward()
    params = {"log": parts["temperature"]} if name == "temperature" else parts[name]
    expected = {"log": tensors["temperature"]} if name == "temperature" else tensors[name]
    grads, metrics, _ = jax.jit(steps.grad(getattr(SAC(), name)(MODEL)))(params, parts, batch, jax.random.key(0))
    assert steps.compute(metrics)["loss"] == pytest.approx(float(losses[name].detach()), rel=1e-5)
    jax.tree.map(lambda g, t: np.testing.assert_allclose(g / ROWS, t.grad, rtol=1e-4, atol=2e-6), grads, expected)


def test_the_density_of_actions_integrates_to_one_and_is_finite_at_the_ends():
    model = SoftActorCritic(1, (4,))
    actor = model.init(jax.random.key(3), jnp.zeros((1, 2)))["params"]
    noise = jnp.linspace(-6, 6, 4001)[:, None]
    action, log = squashed(model, actor, jnp.ones((4001, 2)), noise)
    density, place = np.exp(np.asarray(log, np.float64)), np.asarray(action[:, 0], np.float64)
    assert np.trapezoid(density, place) == pytest.approx(1, abs=1e-3)
    _, log = squashed(model, actor, jnp.ones((2, 2)), jnp.array([[1e3], [-1e3]]))
    assert np.isfinite(log).all()


def test_unit_actions_reach_both_ends_of_the_range():
    environment = UnitActions(Pendulum())
    np.testing.assert_allclose(environment.outside(jnp.array([[-1.0], [0.0], [1.0]])), [[-2], [0], [2]])
    state, _ = environment.reset(jax.random.key(0))
    one = environment.step(state, jnp.array([0.5]), jax.random.key(1))
    other = Pendulum().step(state, jnp.array([1.0]), jax.random.key(1))
    jax.tree.map(np.testing.assert_array_equal, one, other)
    with pytest.raises(BadInput, match="CartPole has actions to choose from"):
        UnitActions(CartPole())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"target_decay": -1.0}, "loss.target_decay is -1.0"),
        ({"updates": 0}, "loss.updates is 0"),
        ({"replay": ReplaySpec(steps=2)}, "replay.steps is 2"),
        ({"replay": ReplaySpec(alpha=0.5)}, "replay.alpha 0.5"),
    ],
)
def test_what_cannot_be_is_refused(fields, message):
    with pytest.raises(BadInput, match=message):
        SAC(**fields).check(2)
