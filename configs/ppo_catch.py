"""PPO moves a paddle under a ball that falls, on a CPU.

    python experiments/ppo.py configs/ppo_catch.py

Data: Catch, the board of bsuite; 200,000 steps. Score and cost: see docs/design/agents.md.
"""

from jaxlm.data import Episodes
from jaxlm.environments import Catch
from jaxlm.losses.ppo import PPO
from jaxlm.models.actor_critic import ActorCritic
from jaxlm.optim import Adam
from jaxlm.train import Config, Run

experiment = "ppo"

config = Config(
    model=ActorCritic(actions=3),
    data=Episodes(environment=Catch(), environments=16),
    loss=PPO(normalise_rewards=True),
    optim=Adam(peak_lr=1e-3, schedule="linear", final_fraction=0.0, eps=1e-5, clip_norm=0.5),
    run=Run(steps=98, log_every=7, eval_every=49, save_every=49, metric="eval/return"),
)
