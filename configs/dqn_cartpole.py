"""Deep Q-learning of CartPole, with double Q-learning, n-step returns and an averaged target net, on a CPU.

    python experiments/dqn.py configs/dqn_cartpole.py

Score and cost: see docs/design/replay.md.
"""

from jaxlm.data import Episodes
from jaxlm.environments import CartPole
from jaxlm.environments.replay import ReplaySpec
from jaxlm.losses import DQN
from jaxlm.models.q_network import QNetwork
from jaxlm.optim import Adam
from jaxlm.train import Config, Run

experiment = "dqn"

config = Config(
    model=QNetwork(actions=2, hidden=(128, 128)),
    data=Episodes(environment=CartPole(), environments=8, eval_episodes=100),
    loss=DQN(
        target_decay=0.99,
        target_every=1,
        last_epsilon=0.01,
        explore=0.2,
        updates=100,
        replay=ReplaySpec(capacity=40_000, batch=128, prefill=1_000, steps=3),
    ),
    optim=Adam(peak_lr=1e-3, warmup=0, schedule="linear", clip_norm=10.0),
    run=Run(steps=300, ema=0.999, log_every=10, eval_every=50, save_every=150, metric="eval/return"),
)
