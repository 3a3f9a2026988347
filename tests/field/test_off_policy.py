"""Agents with a replay or a file, and a language model tuned on rewards: resumed to the same bits, on any devices."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from harness import keeps_the_laws, places

from jaxlm.data import Episodes
from jaxlm.data.agents.transitions import RecordedTransitions
from jaxlm.data.text.prompts import DigitPrompts
from jaxlm.environments import Box, CartPole, Discrete, Gymnasium, Pendulum, TimeStep
from jaxlm.environments.replay import ReplaySpec
from jaxlm.errors import BadInput
from jaxlm.losses import CQL, DQN, GRPO, SAC
from jaxlm.losses.rewards import SortedDigits
from jaxlm.models.adapted import Adapted
from jaxlm.models.gpt import GPT
from jaxlm.models.q_network import QNetwork
from jaxlm.models.soft_actor_critic import SoftActorCritic
from jaxlm.nn.lora import LoRA
from jaxlm.optim import Adam
from jaxlm.parallel import local, mesh
from jaxlm.runs.load import load_module
from jaxlm.train import Config, Run, train
from jaxlm.train.init_from import InitFrom
from jaxlm.train.packs.program import share_compilation
from shrunk_replay import write_transitions
from step_helpers import assert_close, assert_same_bits
from whole_path import ROOT

RUN = Run(steps=4, ema=0.9, log_every=1, eval_every=2, save_every=2, metric="eval/return")
REPLAY = ReplaySpec(capacity=64, batch=8, prefill=32)
GAME = Episodes(environment=CartPole(max_steps=4), environments=4, eval_episodes=8)
DEEP = Config(
    model=QNetwork(actions=2, hidden=(8,), duelling=True),
    data=GAME,
    loss=DQN(updates=2, acts=2, target_every=3, replay=dataclasses.replace(REPLAY, steps=2, alpha=0.6)),
    optim=Adam(peak_lr=1e-2, warmup=0),
    run=RUN,
)
SOFT = Config(
    model=SoftActorCritic(actions=1, hidden=(8,)),
    data=dataclasses.replace(GAME, environment=Pendulum(max_steps=4)),
    loss=SAC(updates=2, acts=2, replay=REPLAY),
    optim=Adam(peak_lr=1e-2, warmup=0),
    run=RUN,
)
SORT = Config(
    model=Adapted(GPT(vocab=12, depth=1, width=8, heads=2, context=8), LoRA(rank=0, full=".")),
    data=DigitPrompts(digits=2, batch=4, held_out=12, eval_batch=4),
    loss=GRPO(reward=SortedDigits(), group=4, length=3, epochs=2, beta=0.1),
    optim=Adam(peak_lr=1e-2, warmup=0),
    run=dataclasses.replace(RUN, metric="eval/reward"),
)


def build_of(experiment):
    return load_module(ROOT / "experiments" / f"{experiment}.py").build


@places
def test_replay_and_environments_are_state(others, tmp_path):
    state, records = keeps_the_laws(build_of("dqn"), DEEP, tmp_path, others)
    assert state.parts["replay"].written == 8 + 4 * 2 * 2
    assert [record["train/return"] for record in records if "train/return" in record] == [4] * 4


def test_another_seed_is_another_game():
    experiment = build_of("dqn")(DEEP, local())
    one, other = (experiment.init(jax.random.key(seed)).parts["replay"].items["observation"] for seed in (0, 1))
    assert not np.array_equal(one, other)


@pytest.mark.slow
@places
def test_three_nets_of_a_soft_agent(others, tmp_path):
    state, _ = keeps_the_laws(build_of("sac"), SOFT, tmp_path, others)
    assert state.parts["temperature"].params["log"] != 0


@pytest.mark.slow
@places
def test_answers_are_drawn_inside_the_step(others, tmp_path):
    state, records = keeps_the_laws(build_of("reward_tuning"), SORT, tmp_path, others)
    assert state.step == 4
    assert records[0]["train/reward"] < 0.2
    pieces = dataclasses.replace(SORT, run=dataclasses.replace(SORT.run, accumulate=4))
    found, _ = keeps_the_laws(build_of("reward_tuning"), pieces, tmp_path / "in pieces", ())
    assert_close(found.params, state.params, 1e-5)


@pytest.mark.slow
@places
def test_an_agent_that_never_acts(others, tmp_path):
    write_transitions(tmp_path / "random.npz")
    data = RecordedTransitions(
        path=str(tmp_path / "random.npz"), batch=8, environment=CartPole(max_steps=4), eval_episodes=8
    )
    keeps_the_laws(build_of("offline"), dataclasses.replace(DEEP, data=data, loss=CQL()), tmp_path, others)


def test_runs_that_share_a_program_have_the_decay_of_their_own_config(tmp_path):
    write_transitions(tmp_path / "random.npz")
    data = RecordedTransitions(path=str(tmp_path / "random.npz"), batch=8, environment=CartPole(max_steps=4))
    config = dataclasses.replace(DEEP, data=data, loss=CQL())
    other = dataclasses.replace(config, run=dataclasses.replace(config.run, ema=0.1))
    shared, averages = share_compilation(build_of("offline")), {}
    for name, build, one in (
        ("first", shared, config),
        ("shared", shared, other),
        ("alone", build_of("offline"), other),
    ):
        averages[name] = train(build, one, tmp_path / name).state.ema
    assert_same_bits(averages["shared"], averages["alone"])
    with pytest.raises(AssertionError):
        assert_same_bits(averages["first"], averages["alone"])


@dataclasses.dataclass(frozen=True)
class Broken:
    """Shows one number where it should show two, or shows NaN after a step."""

    fault: str
    action_space: Discrete | Box
    observation_space = Box(-1.0, 1.0, (2,))

    def reset(self, key):
        return jnp.int32(0), jnp.zeros(1 if self.fault == "shape" else 2)

    def step(self, state, action, key):
        seen = self.reset(key)[1] + (jnp.nan if self.fault == "nan" else 0)
        return state + 1, TimeStep(seen, jnp.float32(1), state >= 5, jnp.bool_(False))


@pytest.mark.parametrize(
    ("fault", "message"),
    [("shape", r"Broken.reset gives an observation float32\[1\]"), ("nan", "gives an observation that is not finite")],
)
@pytest.mark.parametrize("experiment", ["dqn", "sac", "offline"])
def test_a_broken_environment_is_named_before_a_run(experiment, fault, message):
    environment = Broken(fault, Box(-1.0, 1.0, (1,)) if experiment == "sac" else Discrete(2))
    config = SOFT if experiment == "sac" else DEEP
    data = dataclasses.replace(GAME, environment=environment)
    if experiment == "offline":
        config, data = dataclasses.replace(DEEP, loss=CQL()), dataclasses.replace(NEVER, environment=environment)
    with pytest.raises(BadInput, match=message):
        build_of(experiment)(dataclasses.replace(config, data=data), local())


def on_the_host(experiment):
    pytest.importorskip("gymnasium")
    environment = Gymnasium("Pendulum-v1" if experiment == "sac" else "CartPole-v1")
    data = dataclasses.replace(GAME, environment=environment, environments=2, eval_episodes=2)
    if experiment == "offline":
        return dataclasses.replace(DEEP, loss=CQL(), data=dataclasses.replace(NEVER, environment=environment))
    return dataclasses.replace(SOFT if experiment == "sac" else DEEP, data=data)


@pytest.mark.parametrize("experiment", ["dqn", "sac"])
def test_an_agent_with_a_replay_learns_on_the_host(experiment):
    config = on_the_host(experiment)
    agent = build_of(experiment)(config, local())
    state, metrics = jax.jit(agent.step)(jax.jit(agent.init)(jax.random.key(0)), agent.train_data[0])
    assert (metrics["skipped"].total, state.parts["replay"].written) == (0, 16 + 2 * 2)
    replay = state.parts["replay"].items
    kept = [replay[name][:, : state.parts["replay"].written] for name in ("observation", "next_observation", "action")]
    assert (np.abs(kept[1] - kept[0]).max(-1) > 0).all()
    assert np.abs(kept[2]).max() <= 1
    found = jax.jit(agent.evaluations["eval"].outputs)(state, agent.evaluations["eval"].data[0])
    assert found["length"].total / found["length"].weight >= (200 if experiment == "sac" else 8)


@pytest.mark.parametrize("experiment", ["dqn", "sac", "offline"])
def test_the_host_is_refused_for_several_devices(experiment):
    with pytest.raises(BadInput, match="-v1 is an environment of gymnasium, which runs on the host, for one device"):
        build_of(experiment)(on_the_host(experiment), mesh())


PENDULUM, GPT_ALONE = Episodes(environment=Pendulum(), environments=4), SORT.model.base
NEVER = RecordedTransitions(path="missing.npz", environment=CartPole())


@pytest.mark.parametrize(
    ("experiment", "config", "fields", "message"),
    [
        ("dqn", DEEP, {"data": PENDULUM, "model": QNetwork(1)}, "has no choice of actions"),
        ("dqn", DEEP, {"model": QNetwork(3)}, "CartPole needs 2 actions and the model has 3"),
        ("dqn", DEEP, {"init": InitFrom(path="runs/old")}, "an agent starts from new weights"),
        ("sac", SOFT, {"data": GAME}, "CartPole has actions to choose from"),
        ("sac", SOFT, {"init": InitFrom(path="runs/old")}, "an agent starts from new weights"),
        ("offline", DEEP, {"data": NEVER, "loss": CQL()}, "missing.npz cannot be read"),
        ("offline", DEEP, {"data": NEVER, "loss": CQL(), "run": Run()}, "run.ema is 0"),
        ("reward_tuning", SORT, {"model": GPT_ALONE}, "take model=Adapted"),
        ("reward_tuning", SORT, {"loss": dataclasses.replace(SORT.loss, length=6)}, "a prompt and loss.length 6 are 9"),
        ("reward_tuning", SORT, {"data": DigitPrompts(digits=0)}, "data.digits is 0"),
    ],
)
def test_what_does_not_go_together_is_one_line(experiment, config, fields, message):
    with pytest.raises(BadInput, match=message) as raised:
        build_of(experiment)(dataclasses.replace(config, **fields), local())
    assert "\n" not in str(raised.value)
