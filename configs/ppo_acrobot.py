"""PPO swings two linked rods up, on a CPU.

    python experiments/ppo.py configs/ppo_acrobot.py

Data: Acrobot, equal to gymnasium's Acrobot-v1 step for step; 500,000 steps. Score and cost: see docs/design/agents.md.
"""

from jaxlm.data import Episodes
from jaxlm.environments import Acrobot
from jaxlm.losses.ppo import PPO
from jaxlm.models.actor_critic import ActorCritic
from jaxlm.optim import Adam
from jaxlm.train import Config, Run

experiment = "ppo"

config = Config(
    model=ActorCritic(actions=3, normalise=True),
    data=Episodes(environment=Acrobot(), environments=16),
    loss=PPO(normalise_rewards=True),
    optim=Adam(peak_lr=1e-3, schedule="linear", final_fraction=0.0, eps=1e-5, clip_norm=0.5),
    run=Run(steps=245, log_every=5, eval_every=49, save_every=49, metric="eval/return"),
)
