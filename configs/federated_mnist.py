"""Federated averaging on MNIST over 100 clients, as McMahan et al. 2017 (arXiv:1602.05629) trained it.

    python experiments/federated.py configs/federated_mnist.py [--data.deal shards]

Data: TFDS mnist, 600 images a client, evenly or in two shards of one digit each. A round has 10 clients, each of which
goes five times through its images in batches of 10. The network is smaller than the paper's, for a CPU. Score and cost:
see docs/design/federated.md.
"""

from jaxlm.data.clients import Clients
from jaxlm.data.images.sources import TfdsImages
from jaxlm.federated.config import FederatedConfig, LocalTraining
from jaxlm.losses import Classification
from jaxlm.models.cnn import CNN
from jaxlm.optim import SGD
from jaxlm.train import Run

experiment = "federated"

config = FederatedConfig(
    model=CNN(classes=10, widths=(8, 16), hidden=128, norm="none", patches=True),
    data=Clients(examples=TfdsImages(name="mnist", eval_batch=1000, mean=(0.1307,), std=(0.3081,)), clients=100),
    loss=Classification(),
    optim=SGD(peak_lr=1.0, schedule="constant"),
    local=LocalTraining(optim=SGD(peak_lr=0.1, schedule="constant")),
    run=Run(steps=30, accumulate=10, log_every=1, eval_every=2, save_every=2, metric="eval/accuracy", maximize=True),
)

ablations = {
    "two shards": ("--data.deal", "shards", "--run.steps", "350", "--run.eval-every", "10", "--run.save-every", "10"),
    "proximal": ("--local.proximal", "0.01"),
}
