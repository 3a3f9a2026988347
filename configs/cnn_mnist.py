"""A small convolutional network on MNIST, for a CPU.

    python experiments/image_classification.py configs/cnn_mnist.py

Data: TFDS mnist; in training the digits are turned, moved and scaled a little. Score and cost: see README, Results.
"""

from jaxlm.data.images.augment import RandomAffine
from jaxlm.data.images.sources import TfdsImages
from jaxlm.losses import Classification
from jaxlm.models.cnn import CNN
from jaxlm.optim import AdamW
from jaxlm.parallel import PlacementSpec
from jaxlm.train import Config, Run

experiment = "image_classification"

config = Config(
    model=CNN(classes=10, widths=(16, 32), hidden=128, dropout=0.25),
    data=TfdsImages(
        name="mnist",
        batch=128,
        eval_batch=1000,
        augment=(RandomAffine(degrees=10, translate=0.08, scale=0.08),),
        mean=(0.1307,),
        std=(0.3081,),
    ),
    loss=Classification(),
    optim=AdamW(peak_lr=5e-3, warmup=400, weight_decay=0.02, schedule="linear", final_fraction=0.0),
    place=PlacementSpec(),
    run=Run(steps=4690, ema=0.99, eval_every=938, save_every=938, log_every=469, metric="eval/accuracy", maximize=True),
)

ablations = {
    "no batch norm": ("--model.norm", "none"),
    "group norm": ("--model.norm", "group"),
    "no turning": ("--data.augment.0.degrees", "0"),
    "no dropout": ("--model.dropout", "0"),
}
