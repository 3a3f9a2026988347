"""ResNet-20 on CIFAR-10: 0.27 million parameters, for a CPU; 25 epochs of whole images after 50 of 24x24 crops.

    python experiments/image_classification.py configs/resnet20_cifar10_crops.py --run.directory runs/crops
    python experiments/image_classification.py configs/resnet20_cifar10.py --init.path runs/crops

Small images first make an epoch cheaper (Howard, 2018, "Training Imagenet in 3 hours": progressive resizing).
Data: TFDS cifar10, or `--data.arrays FOLDER` with train.npz and test.npz. Score and cost: see README, Results.
"""

from jaxlm.data.images.augment import HorizontalFlip, RandomCrop
from jaxlm.data.images.sources import TfdsImages
from jaxlm.losses import Classification
from jaxlm.models.resnet import cifar_resnet20
from jaxlm.optim import SGD
from jaxlm.parallel import PlacementSpec
from jaxlm.train import Config, InitFrom, Run

experiment = "image_classification"

config = Config(
    model=cifar_resnet20(classes=10),
    data=TfdsImages(
        name="cifar10",
        batch=128,
        eval_batch=500,
        augment=(RandomCrop(padding=4), HorizontalFlip()),
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.247, 0.2435, 0.2616),
    ),
    loss=Classification(),
    optim=SGD(peak_lr=0.1, momentum=0.9, nesterov=True, l2=3e-4, warmup=195, schedule="linear", final_fraction=0.0),
    place=PlacementSpec(),
    init=InitFrom(fresh=""),
    run=Run(
        steps=9750, ema=0.999, eval_every=1950, save_every=1950, log_every=150, metric="eval/accuracy", maximize=True
    ),
)
