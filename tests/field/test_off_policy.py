"""Agents with a replay, under the laws of every run: resumed to the same bits, the same under every placement."""

from harness import keeps_the_laws, places

from jaxlm.data import Episodes
from jaxlm.environments import CartPole
from jaxlm.environments.replay import ReplaySpec
from jaxlm.losses import DQN
from jaxlm.models.q_network import QNetwork
from jaxlm.optim import Adam
from jaxlm.runs.load import load_module
from jaxlm.train import Config, Run
from whole_path import ROOT

BUILD = load_module(ROOT / "experiments" / "dqn.py").build
CONFIG = Config(
    model=QNetwork(actions=2, hidden=(8,), duelling=True),
    data=Episodes(environment=CartPole(max_steps=4), environments=4, eval_episodes=8),
    loss=DQN(
        updates=2, acts=2, target_every=3, replay=ReplaySpec(capacity=64, batch=8, prefill=32, steps=2, alpha=0.6)
    ),
    optim=Adam(peak_lr=1e-2, warmup=0),
    run=Run(steps=6, ema=0.9, log_every=1, eval_every=3, save_every=3, metric="eval/return"),
)


@places
def test_replay_and_environments_are_state_and_devices_do_not_matter(others, tmp_path):
    state, records = keeps_the_laws(BUILD, CONFIG, tmp_path, others)
    assert state.parts["replay"].written == 8 + 6 * 2 * 2
    assert all(record["train/epsilon"] <= 1 for record in records if "train/epsilon" in record)
