"""A small vision transformer on CIFAR-10 from scratch: 4 x 4 patches, for an accelerator.

    python experiments/image_classification.py configs/vit_cifar10.py --run.dtype bfloat16

Data: TFDS cifar10, or `--data.arrays FOLDER` with train.npz and test.npz. The augmentation is that of Touvron et al.
2021 (DeiT, arXiv:2012.12877). Score: not run, for want of an accelerator.
"""

from jaxlm.data.images.augment import CutMix, HorizontalFlip, RandomCrop
from jaxlm.data.images.rand_augment import RandAugment
from jaxlm.data.images.sources import TfdsImages
from jaxlm.losses import Classification
from jaxlm.models.vit import ViT
from jaxlm.optim import AdamW
from jaxlm.parallel import PlacementSpec
from jaxlm.train import Config, Run

experiment = "image_classification"

config = Config(
    model=ViT(classes=10, patch=4, width=192, depth=9, heads=3, pool="mean", dropout=0.1),
    data=TfdsImages(
        name="cifar10",
        batch=256,
        eval_batch=500,
        augment=(RandomCrop(padding=4), HorizontalFlip(), RandAugment(count=2, magnitude=9), CutMix(alpha=1.0)),
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.247, 0.2435, 0.2616),
    ),
    loss=Classification(smoothing=0.1),
    optim=AdamW(peak_lr=1e-3, warmup=1950, weight_decay=0.05, clip_norm=1.0, final_fraction=0.01),
    place=PlacementSpec(),
    run=Run(steps=58500, ema=0.999, eval_every=1950, save_every=1950, metric="eval/accuracy", maximize=True),
)

ablations = {"no CutMix": ("--data.augment.3.alpha", "1e-6"), "class token": ("--model.pool", "token")}
