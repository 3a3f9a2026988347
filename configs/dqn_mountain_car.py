"""Deep Q-learning drives a car out of a valley, with returns of three steps, on a CPU.

    python experiments/dqn.py configs/dqn_mountain_car.py

Every step costs 1 until the goal, so values of 0 at the start are hopes that the agent tries out one after another.
Score and cost: see docs/design/replay.md.
"""

from jaxlm.data import Episodes
from jaxlm.environments import MountainCar
from jaxlm.environments.replay import ReplaySpec
from jaxlm.losses import DQN
from jaxlm.models.q_network import QNetwork
from jaxlm.optim import Adam
from jaxlm.train import Config, Run

experiment = "dqn"

config = Config(
    model=QNetwork(actions=3, hidden=(256, 256)),
    data=Episodes(environment=MountainCar(), environments=8, eval_episodes=1000),
    loss=DQN(
        target_every=200,
        last_epsilon=0.05,
        explore=0.3,
        updates=100,
        replay=ReplaySpec(capacity=100_000, batch=128, steps=3),
    ),
    optim=Adam(peak_lr=4e-3, warmup=0, schedule="linear", clip_norm=10.0),
    run=Run(steps=400, ema=0.999, log_every=20, eval_every=50, save_every=100, metric="eval/return"),
)
