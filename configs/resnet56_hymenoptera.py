r"""Fine-tune a ResNet-56 that was trained on CIFAR-10 to tell ants from bees, on a CPU.

    python experiments/image_classification.py configs/resnet56_hymenoptera.py --data.path FOLDER \
        --init.path resnet56.safetensors

FOLDER is hymenoptera_data, the ants and bees of many tutorials (244 images for training, 153 held out), here at 48 x 48
pixels. Without `--init.path` it trains from scratch. Score and cost of both: see README, Results.
"""

from jaxlm.data.images.augment import HorizontalFlip
from jaxlm.data.images.folder import ImageFolder
from jaxlm.losses import Classification
from jaxlm.models.resnet import cifar_resnet56
from jaxlm.optim import SGD, layerwise
from jaxlm.parallel import PlacementSpec
from jaxlm.train import Config, Run

experiment = "image_classification"

config = Config(
    model=cifar_resnet56(classes=2),
    data=ImageFolder(
        path="hymenoptera_data",
        size=48,
        crop="random",
        batch=32,
        eval_batch=153,
        augment=(HorizontalFlip(),),
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
    ),
    loss=Classification(),
    optim=SGD(
        peak_lr=0.01,
        momentum=0.9,
        l2=1e-4,
        warmup=10,
        final_fraction=0.0,
        groups=layerwise(("^stem", "^stage_0", "^stage_1", "^stage_2", "^head"), 0.6),
    ),
    place=PlacementSpec(),
    run=Run(steps=80, eval_every=20, save_every=40, log_every=20, metric="eval/accuracy", maximize=True),
)
