"""PPO swings a pendulum up by torques that are real numbers, on a CPU.

    python experiments/ppo.py configs/ppo_pendulum.py

Data: Pendulum, equal to gymnasium's Pendulum-v1 step for step; 1 million steps. Score and cost: see
docs/design/agents.md.
"""

from jaxlm.data import Episodes
from jaxlm.environments import Pendulum
from jaxlm.losses.ppo import PPO
from jaxlm.models.actor_critic import ActorCritic
from jaxlm.optim import Adam
from jaxlm.train import Config, Run

experiment = "ppo"

config = Config(
    model=ActorCritic(actions=1, continuous=True, normalise=True),
    data=Episodes(environment=Pendulum(), environments=32),
    loss=PPO(horizon=128, epochs=10, minibatches=8, discount=0.97, normalise_rewards=True, entropy_weight=0.0),
    optim=Adam(peak_lr=1e-3, schedule="linear", final_fraction=0.0, eps=1e-5, clip_norm=0.5),
    run=Run(steps=245, log_every=5, eval_every=49, save_every=49, metric="eval/return"),
)
