"""PPO plays Breakout on a board of 10 x 10 through a small convolutional network.

    python experiments/ppo.py configs/ppo_breakout.py

Data: Breakout, equal to MinAtar's step for step; 10 million steps. Score and cost: see docs/design/agents.md.
"""

from jaxlm.data import Episodes
from jaxlm.environments import Breakout
from jaxlm.losses.ppo import PPO
from jaxlm.models.actor_critic import ActorCritic
from jaxlm.optim import Adam
from jaxlm.train import Config, Run

experiment = "ppo"

config = Config(
    model=ActorCritic(actions=3, hidden=(64,), channels=(16,), activation="relu"),
    data=Episodes(environment=Breakout(), environments=64),
    loss=PPO(horizon=128, minibatches=8),
    optim=Adam(peak_lr=1e-3, schedule="linear", final_fraction=0.0, eps=1e-5, clip_norm=0.5),
    run=Run(steps=1220, log_every=20, eval_every=244, save_every=244, metric="eval/return"),
)
