"""Federated averaging on scikit-learn's real digits, dealt to twenty clients of about two digits each: no download.

    python experiments/federated.py configs/federated_digits.py

Data: the 1,437 training images in 40 shards of one class, two a client; a round has five clients, each of which goes
through its images twice. Score and cost: see docs/design/federated.md.
"""

from jaxlm.data.clients import Clients
from jaxlm.data.images.sources import Digits
from jaxlm.federated.config import FederatedConfig, LocalTraining
from jaxlm.losses import Classification
from jaxlm.models.cnn import CNN
from jaxlm.optim import SGD
from jaxlm.train import Run

experiment = "federated"

config = FederatedConfig(
    model=CNN(classes=10, widths=(8, 16), hidden=32, norm="none", patches=True),
    data=Clients(examples=Digits(eval_batch=360), clients=20, batch=5, epochs=2, deal="shards"),
    loss=Classification(),
    optim=SGD(peak_lr=1.0, schedule="constant"),
    local=LocalTraining(optim=SGD(peak_lr=0.1, schedule="constant")),
    run=Run(steps=100, accumulate=5, log_every=10, eval_every=20, save_every=20, metric="eval/accuracy", maximize=True),
)

ablations = {
    "even": ("--data.deal", "even"),
    "proximal": ("--local.proximal", "0.1"),
    "scaffold": ("--local.method", "scaffold", "--local.weights", "clients", "--data.grouped"),
}
