"""A small convolutional network on scikit-learn's real digits: no download, and seconds on a laptop.

    python experiments/image_classification.py configs/cnn_digits.py

1,437 images of 8 x 8 pixels for training; the last 360, in part by other writers, are held out. Score and cost: see
README, Results.
"""

from jaxlm.data.images.augment import RandomAffine
from jaxlm.data.images.sources import Digits
from jaxlm.losses import Classification
from jaxlm.models.cnn import CNN
from jaxlm.optim import AdamW
from jaxlm.parallel import PlacementSpec
from jaxlm.train import Config, Run

experiment = "image_classification"

config = Config(
    model=CNN(classes=10, widths=(16, 32), hidden=64),
    data=Digits(batch=32, eval_batch=360, augment=(RandomAffine(degrees=10, translate=0.1, scale=0.1),)),
    loss=Classification(),
    optim=AdamW(peak_lr=3e-3, warmup=40, weight_decay=0.05, final_fraction=0.0),
    place=PlacementSpec(),
    run=Run(steps=900, eval_every=180, save_every=180, metric="eval/accuracy", maximize=True),
)

ablations = {
    "no batch norm": ("--model.norm", "none"),
    "half depth": ("--model.widths", "16"),
    "no augmentation": (
        *("--data.augment.0.degrees", "0"),
        *("--data.augment.0.translate", "0"),
        *("--data.augment.0.scale", "0"),
    ),
}
