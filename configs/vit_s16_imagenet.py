"""ViT-S/16 on ImageNet-1k, the recipe of Beyer et al. 2022 (arXiv:2205.01580): 90 epochs of batches of 1,024.

    python experiments/image_classification.py configs/vit_s16_imagenet.py --place.kind mesh --run.dtype bfloat16

Data: TFDS imagenet2012 (see scripts/prepare_tfds.py). RandAugment(2, 10), MixUp 0.2, mean pooling, no dropout. The
published top-1 accuracy is 76.5 % (table 1; with fixed sine and cosine positions, which are learned ones here). Score:
not run, for want of an accelerator.
"""

from jaxlm.data.images.augment import HorizontalFlip, MixUp
from jaxlm.data.images.rand_augment import RandAugment
from jaxlm.data.images.sources import TfdsImages
from jaxlm.losses import Classification
from jaxlm.models.vit import vit_s16
from jaxlm.optim import AdamW
from jaxlm.parallel import PlacementSpec
from jaxlm.train import Config, Run

experiment = "image_classification"

config = Config(
    model=vit_s16(classes=1000, pool="mean"),
    data=TfdsImages(
        name="imagenet2012",
        eval_split="validation",
        batch=1024,
        eval_batch=1000,
        size=224,
        crop="random",
        augment=(HorizontalFlip(), RandAugment(count=2, magnitude=10), MixUp(alpha=0.2)),
        mean=(0.5,),
        std=(0.5,),
    ),
    loss=Classification(),
    optim=AdamW(peak_lr=1e-3, warmup=10000, weight_decay=0.1, clip_norm=1.0, final_fraction=0.0),
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
