"""Sixteen updates, an evaluation at every fourth and a checkpoint at every second."""

from tiny import Rows

from jaxlm.optim import AdamW
from jaxlm.train import Config, Run

config = Config(
    model=None,
    data=Rows(),
    optim=AdamW(peak_lr=0.05),
    run=Run(steps=16, log_every=1, eval_every=4, save_every=2, keep_last=2, keep_best=1),
)
