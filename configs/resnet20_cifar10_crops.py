"""The first stage of ResNet-20 on CIFAR-10: 50 epochs of 24x24 crops, at 0.6 of the cost of whole images.

    python experiments/image_classification.py configs/resnet20_cifar10_crops.py --run.directory runs/crops

Its second stage, with whole images, is `configs/resnet20_cifar10.py`, where the data and the scores are told.
"""

from jaxlm.data.images.augment import HorizontalFlip, RandomCrop
from jaxlm.data.images.sources import TfdsImages
from jaxlm.losses import Classification
from jaxlm.models.resnet import cifar_resnet20
from jaxlm.optim import SGD
from jaxlm.parallel import PlacementSpec
from jaxlm.train import Config, Run

experiment = "image_classification"

config = Config(
    model=cifar_resnet20(classes=10),
    data=TfdsImages(
        name="cifar10",
        batch=128,
        eval_batch=500,
        augment=(RandomCrop(padding=0, size=24), HorizontalFlip()),
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.247, 0.2435, 0.2616),
    ),
    loss=Classification(),
    optim=SGD(peak_lr=0.2, momentum=0.9, nesterov=True, l2=3e-4, warmup=975, schedule="linear", final_fraction=0.5),
    place=PlacementSpec(),
    run=Run(
        steps=19500, ema=0.999, eval_every=1950, save_every=1950, log_every=150, metric="eval/accuracy", maximize=True
    ),
)
