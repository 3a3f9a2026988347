"""Behaviour cloning of CartPole from a file of what another agent did, on a CPU.

    python scripts/record_episodes.py RUN --episodes 200 --random 0.5 --to cartpole.npz
    python experiments/offline.py configs/bc_cartpole.py --data.path cartpole.npz

RUN is a run of configs/dqn_cartpole.py or another agent with the same observations. Score and cost: see
docs/design/replay.md.
"""

from jaxlm.data.agents.transitions import RecordedTransitions
from jaxlm.environments import CartPole
from jaxlm.losses.offline import BehaviourCloning
from jaxlm.models.q_network import QNetwork
from jaxlm.optim import Adam
from jaxlm.train import Config, Run

experiment = "offline"

config = Config(
    model=QNetwork(actions=2, hidden=(64, 64)),
    data=RecordedTransitions(path="cartpole.npz", environment=CartPole()),
    loss=BehaviourCloning(),
    optim=Adam(peak_lr=1e-3, warmup=0, schedule="linear", clip_norm=10.0),
    run=Run(steps=10000, repeat=50, ema=0.995, log_every=1000, eval_every=2000, save_every=2000, metric="eval/return"),
)
