"""A2C balances a pole on a cart, on a CPU: PPO whose short rollouts are learned from once.

    python experiments/ppo.py configs/a2c_cartpole.py

Data: CartPole, equal to gymnasium's CartPole-v1 step for step; 500,000 steps. Score and cost: see
docs/design/agents.md.
"""

from jaxlm.data import Episodes
from jaxlm.environments import CartPole
from jaxlm.losses.ppo import A2C
from jaxlm.models.actor_critic import ActorCritic
from jaxlm.optim import RMSProp
from jaxlm.train import Config, Run

experiment = "ppo"

config = Config(
    model=ActorCritic(actions=2),
    data=Episodes(environment=CartPole(), environments=16),
    loss=A2C(horizon=8, normalise_rewards=True, entropy_weight=0.0),
    optim=RMSProp(peak_lr=2e-3, b2=0.99, eps=1e-5, schedule="linear", final_fraction=0.0, clip_norm=0.5),
    run=Run(steps=4000, log_every=100, eval_every=1000, save_every=1000, metric="eval/return"),
)
