"""Soft actor-critic on Pendulum, with a learned temperature, on a CPU.

    python experiments/sac.py configs/sac_pendulum.py

Score and cost: see docs/design/replay.md.
"""

from jaxlm.data import Episodes
from jaxlm.environments import Pendulum
from jaxlm.environments.off_policy.replay import ReplaySpec
from jaxlm.losses import SAC
from jaxlm.models.soft_actor_critic import SoftActorCritic
from jaxlm.optim import Adam
from jaxlm.train import Config, Run

experiment = "sac"

config = Config(
    model=SoftActorCritic(actions=1, hidden=(64, 64)),
    data=Episodes(environment=Pendulum(), environments=4, eval_episodes=1000),
    loss=SAC(updates=100, replay=ReplaySpec(capacity=100_000, batch=128, prefill=1_000)),
    optim=Adam(peak_lr=1e-3, warmup=0, schedule="linear"),
    run=Run(steps=150, ema=0.99, log_every=10, eval_every=50, save_every=50, metric="eval/return"),
)
