"""Inception-v3 on ImageNet-1k, after Szegedy et al. 2016 (arXiv:1512.00567), section 8, without its auxiliary head.

    python experiments/image_classification.py configs/inception_imagenet.py --place.kind mesh --run.dtype bfloat16

Data: TFDS imagenet2012 (see scripts/prepare_tfds.py). RMSProp with decay 0.9 and an epsilon of 1, a rate from
0.045 down (here along a cosine), gradients clipped at 2, 100 epochs; the paper's batch is 32 on each of 50 replicas.
Its top-1 accuracy from one crop is 78.8 % with the auxiliary head (table 3). Score: not run, for want of an
accelerator.
"""

from jaxlm.data.images.augment import HorizontalFlip
from jaxlm.data.images.sources import TfdsImages
from jaxlm.losses import Classification
from jaxlm.models.inception import Inception
from jaxlm.optim import RMSProp
from jaxlm.parallel import PlacementSpec
from jaxlm.train import Config, Run

experiment = "image_classification"

config = Config(
    model=Inception(classes=1000),
    data=TfdsImages(
        name="imagenet2012",
        eval_split="validation",
        batch=1600,
        eval_batch=1000,
        size=299,
        crop="random",
        augment=(HorizontalFlip(),),
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
    ),
    loss=Classification(smoothing=0.1),
    optim=RMSProp(peak_lr=0.045, b2=0.9, eps=1.0, clip_norm=2.0, l2=4e-5, final_fraction=0.0),
    place=PlacementSpec(),
    run=Run(
        steps=80000,
        workers=8,
        eval_every=4000,
        save_every=800,
        log_every=100,
        metric="eval/accuracy",
        maximize=True,
    ),
)
