"""REINFORCE (Williams 1992) with its environment inside the step: episodes from keys, or worlds that are state."""

import dataclasses

import jax
import jax.numpy as jnp
from harness import RUN, keeps_the_laws, places

from jaxlm import steps
from jaxlm.data import DrawsSpec
from jaxlm.models.mlp import MLP
from jaxlm.optim import Adam
from jaxlm.steps import Mean, transforms
from jaxlm.train import Config, Evaluation, Experiment, train
from jaxlm.train.compose import descend
from step_helpers import assert_close

POLICY = MLP(2, (8,))


def play(params, at, words, moves=5):
    """Walk on a line from some places; returns the last places, the surprises of all moves, and their rewards."""

    def move(at, key):
        logits = POLICY.apply({"params": params}, jnp.stack([at, at**2])[None])[0]
        action = jax.random.categorical(key, logits)
        after = at + jnp.where(action == 1, 0.5, -0.5)
        return after, (-jax.nn.log_softmax(logits)[action], -jnp.abs(after))

    keys = jax.random.wrap_key_data(words, impl="threefry2x32")
    return jax.vmap(lambda at, key: jax.lax.scan(move, at, jax.random.split(key, moves)))(at, keys)


def loss(params, variables, batch, key, *, train):
    at = variables.get("worlds", jnp.zeros(len(batch["keys"])))
    at, (surprise, reward) = play(params, at, batch["keys"])
    to_come = jax.lax.stop_gradient(jnp.cumsum(reward[:, ::-1], 1)[:, ::-1])
    weight = batch.get("mask", jnp.ones(len(at)))
    sums = {"loss": (surprise * to_come).sum(1), "return": reward.sum(1)}
    return {name: Mean((x * weight).sum(), weight.sum()) for name, x in sums.items()}, variables


def build(config, place):
    tx, seeds = config.optim(config.run.steps), config.run.seeds
    return Experiment(
        init=lambda key: steps.init(POLICY, tx, jnp.zeros((1, 2)), key),
        step=descend(loss, config, place),
        train_data=config.data.train(seeds.data, seeds.noise),
        evaluations={"eval": Evaluation(config.data.eval(), steps.evaluate(loss))},
        composes=("accumulate", "skip_limit"),
    )


def build_with_worlds(config, place):
    experiment, count = build(config, place), config.data.batch

    def step(state, batch):
        agent, worlds = state.parts["agent"], state.parts["worlds"]
        moved, _ = play(agent.params, worlds, batch["keys"])
        lent = transforms.lend(steps.grad(loss), "worlds", lambda _: worlds)
        agent, metrics = steps.update(place.reduce(lent), config.optim(config.run.steps))(agent, batch)
        return state.replace(step=state.step + 1, parts={"agent": agent, "worlds": moved}), metrics

    def init(key):
        keys = jax.random.split(key)
        return steps.joint(keys[0], agent=experiment.init(key), worlds=jax.random.normal(keys[1], (count,)))

    def outputs(state, batch):
        worlds = state.parts["worlds"]
        return {"loss": Mean(jnp.abs(worlds).sum(), jnp.float32(len(worlds)))}

    evaluations = {"eval": Evaluation(config.data.eval(), outputs)}
    rules = (("parts/worlds", ("examples",)),)
    return dataclasses.replace(experiment, init=init, step=step, evaluations=evaluations, rules=rules, composes=())


CONFIG = Config(model=None, data=DrawsSpec(batch=8, eval_draws=12), optim=Adam(peak_lr=1e-2), run=RUN)


@places
def test_reinforce_with_episodes_from_keys(others, tmp_path):
    config = dataclasses.replace(CONFIG, run=dataclasses.replace(RUN, accumulate=2))
    state, _ = keeps_the_laws(build, config, tmp_path, others)
    assert_close(state.params, train(build, CONFIG, tmp_path / "in one piece").state.params)


@places
def test_reinforce_with_worlds_that_are_state(others, tmp_path):
    keeps_the_laws(build_with_worlds, CONFIG, tmp_path, others)
