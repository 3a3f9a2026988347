"""ResNet-50 on ImageNet-1k, the recipe of Goyal et al. 2017 (arXiv:1706.02677): 90 epochs of batches of 1,024.

    python experiments/image_classification.py configs/resnet50_imagenet.py --place.kind mesh --run.dtype bfloat16

Data: TFDS imagenet2012 (see scripts/prepare_tfds.py). The published top-1 error is 23.60 % (table 1 there, batches
of 256). Score: not run, for want of an accelerator.
"""

from jaxlm.data.images.augment import HorizontalFlip
from jaxlm.data.images.sources import TfdsImages
from jaxlm.losses import Classification
from jaxlm.models.resnet import resnet50
from jaxlm.optim import SGD
from jaxlm.parallel import PlacementSpec
from jaxlm.train import Config, Run

experiment = "image_classification"

config = Config(
    model=resnet50(classes=1000),
    data=TfdsImages(
        name="imagenet2012",
        eval_split="validation",
        batch=1024,
        eval_batch=1000,
        size=224,
        crop="random",
        augment=(HorizontalFlip(),),
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
    ),
    loss=Classification(),
    optim=SGD(peak_lr=0.4, momentum=0.9, nesterov=True, l2=1e-4, warmup=6255, final_fraction=0.0),
    place=PlacementSpec(),
    run=Run(
        steps=112590,
        workers=8,
        eval_every=6255,
        save_every=1251,
        log_every=100,
        metric="eval/accuracy",
        maximize=True,
    ),
)
