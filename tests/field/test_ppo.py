"""PPO and A2C whole: devices, kills in the middle of an episode, and what they are built of against other code."""

import dataclasses
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from harness import RUN, keeps_the_laws

from jaxlm import parallel
from jaxlm.data import Episodes
from jaxlm.environments import CartPole, Gymnasium, Pendulum
from jaxlm.environments.wrappers import host as on_host
from jaxlm.errors import BadInput
from jaxlm.losses.ppo import A2C, PPO
from jaxlm.models.actor_critic import ActorCritic
from jaxlm.optim import Adam
from jaxlm.runs.load import load_module
from jaxlm.train import Config, train
from whole_path import ROOT

ppo = load_module(ROOT / "experiments" / "ppo.py")

CONFIG = Config(
    model=ActorCritic(actions=2, hidden=(8,), normalise=True),
    data=Episodes(environment=CartPole(max_steps=7), environments=8, eval_episodes=12),
    loss=PPO(horizon=8, epochs=2, minibatches=2, clip_value=0.2, normalise_rewards=True),
    optim=Adam(peak_lr=1e-2, schedule="linear"),
    run=dataclasses.replace(RUN, metric="eval/return"),
)


@pytest.mark.parametrize("others", [("pmap",), pytest.param(("mesh(2, 2)",), marks=pytest.mark.slow)])
def test_a_run_resumes_inside_of_episodes_and_does_not_depend_on_devices(others, tmp_path):
    state, records = keeps_the_laws(ppo.build, CONFIG, tmp_path, others)
    assert np.asarray(state.parts["worlds"].length).min() > 0
    assert {"train/return", "train/length", "train/kl", "train/entropy"} <= records[-2].keys()
    moments = state.parts["agent"].variables["moments"]["norm"]
    assert moments["count"] == RUN.steps * 8 * 8


def test_micro_batches_do_not_change_a_run(tmp_path):
    found = []
    for parts in (1, 2):
        config = dataclasses.replace(CONFIG, run=dataclasses.replace(CONFIG.run, accumulate=parts))
        experiment = ppo.build(config, parallel.local())
        state, _ = jax.jit(experiment.step)(experiment.init(jax.random.key(0)), experiment.train_data[0])
        found.append(jax.tree.leaves(state.parts["agent"].params))
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_a_continuous_agent_and_a2c_take_a_step():
    for change in (
        {"model": ActorCritic(actions=1, continuous=True, hidden=(8,))},
        {"model": ActorCritic(actions=1, continuous=True, hidden=(8,)), "loss": A2C()},
    ):
        data = dataclasses.replace(CONFIG.data, environment=Pendulum(max_steps=9))
        experiment = ppo.build(dataclasses.replace(CONFIG, data=data, **change), parallel.local())
        state, metrics = jax.jit(experiment.step)(experiment.init(jax.random.key(0)), experiment.train_data[0])
        assert all(np.isfinite(x).all() for x in jax.tree.leaves(metrics))
        assert metrics["clipped"].total == 0 or "loss" not in change
        assert state.step == 1


@pytest.mark.slow
def test_a_run_in_an_environment_of_gymnasium_goes_on_with_new_episodes(tmp_path):
    pytest.importorskip("gymnasium")
    data = dataclasses.replace(CONFIG.data, environment=Gymnasium("CartPole-v1"), environments=4, eval_episodes=4)
    config = dataclasses.replace(CONFIG, data=data)
    first = train(ppo.build, config, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "6")
    on_host._open.clear()  # as in another process
    again = train(ppo.build, config, tmp_path / "run")
    assert (first.completed, again.completed) == (6, 6)
    assert np.isfinite(np.asarray(again.state.parts["agent"].params["out"]["kernel"])).all()
    with pytest.raises(BadInput, match="runs on the host, for one device"):
        ppo.build(config, parallel.mesh())


def test_orders_visit_each_step_of_each_epoch_once():
    orders = np.asarray(ppo.shuffled(jax.random.key(0), PPO(horizon=12, epochs=3, minibatches=4)))
    assert orders.shape == (12, 3)
    epochs = orders.reshape(3, 12)
    assert all((np.sort(epoch) == np.arange(12)).all() for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": ActorCritic(actions=3)}, "CartPole needs 2 actions and the model has 3: --model.actions 2"),
        ({"model": ActorCritic(actions=2, continuous=True)}, "set --model.no-continuous"),
        ({"model": ActorCritic(actions=2, channels=(4,))}, r"CartPole has observations \[4\], and model.channels"),
    ],
)
def test_a_model_that_does_not_fit_is_refused_in_one_line(change, message):
    with pytest.raises(BadInput, match=message):
        ppo.build(dataclasses.replace(CONFIG, **change), parallel.local())


def test_numbers_that_cannot_be_are_refused():
    for wrong, message in (
        ({"horizon": 10, "minibatches": 4}, "minibatches divide the steps"),
        ({"discount": 1.5}, "loss.discount is 1.5"),
        ({"clip": 0.0}, "loss.clip is 0.0"),
        ({"entropy_weight": float("nan")}, "entropy_weight"),
    ):
        with pytest.raises(BadInput, match=message):
            PPO(**wrong)


def test_rewards_are_divided_by_the_deviation_of_discounted_returns():
    draw = np.random.default_rng(0)
    reward, done = draw.normal(size=(6, 4)).astype(np.float32), draw.random((6, 4)) < 0.2
    seen = ppo.Transitions(*[jnp.asarray(reward)] * 9)._replace(
        terminated=jnp.asarray(done), truncated=jnp.zeros((6, 4), bool), reward=jnp.asarray(reward)
    )
    sums, every = np.full(4, 0.5), []
    for t in range(6):
        sums = 0.9 * sums + reward[t]
        every.append(sums)
        sums = np.where(done[t], 0, sums)
    state = {"moments": ppo.no_moments(()), "discounted": jnp.full(4, 0.5)}
    scaled, after = ppo.scaled(seen, state, 0.9, parallel.local())
    np.testing.assert_allclose(scaled.reward, reward / np.std(every), rtol=1e-5)
    np.testing.assert_allclose(after["discounted"], sums, rtol=1e-5)
