"""Deep Q-learning of CartPole, with double Q-learning and returns of ten steps, on a CPU.

    python experiments/dqn.py configs/dqn_cartpole.py

Score and cost: see docs/design/replay.md.
"""

from jaxlm.data import Episodes
from jaxlm.environments import CartPole
from jaxlm.environments.off_policy.replay import ReplaySpec
from jaxlm.losses import DQN
from jaxlm.models.q_network import QNetwork
from jaxlm.optim import Adam
from jaxlm.train import Config, Run

experiment = "dqn"

config = Config(
    model=QNetwork(actions=2, hidden=(64, 64)),
    data=Episodes(environment=CartPole(), environments=8, eval_episodes=100),
    loss=DQN(
        target_every=200,
        last_epsilon=0.01,
        explore=0.2,
        updates=100,
        replay=ReplaySpec(capacity=200_000, batch=64, steps=10),
    ),
    optim=Adam(peak_lr=1e-3, warmup=0, schedule="linear", clip_norm=10.0),
    run=Run(steps=400, ema=0.999, log_every=10, eval_every=100, save_every=100, metric="eval/return"),
)

ablations = {
    "1 step": ("--loss.replay.steps", "1"),
    "not double": ("--loss.no-double",),
    "duelling": ("--model.duelling",),
    "prioritised": ("--loss.replay.alpha", "0.6"),
    "averaged target": ("--loss.target-decay", "0.995", "--loss.target-every", "1"),
}
