"""ResNet-18 with a stem for small images on CIFAR-10: 11.2 million parameters, for an accelerator.

    python experiments/image_classification.py configs/resnet18_cifar10.py --run.dtype bfloat16

Data: TFDS cifar10, or `--data.arrays FOLDER` with train.npz and test.npz. The recipe aims at 95 % (He et al. 2016 with
the learning-rate schedule of Goyal et al. 2017, cut-outs after Zhong et al. 2020). Score: not run, for want of an
accelerator.
"""

from jaxlm.data.images.augment import HorizontalFlip, RandomCrop, RandomErasing
from jaxlm.data.images.sources import TfdsImages
from jaxlm.losses import Classification
from jaxlm.models.resnet import resnet18
from jaxlm.optim import SGD
from jaxlm.parallel import PlacementSpec
from jaxlm.train import Config, Run

experiment = "image_classification"

config = Config(
    model=resnet18(classes=10, stem="small"),
    data=TfdsImages(
        name="cifar10",
        batch=128,
        eval_batch=500,
        augment=(RandomCrop(padding=4), HorizontalFlip(), RandomErasing(probability=0.5)),
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.247, 0.2435, 0.2616),
    ),
    loss=Classification(smoothing=0.1),
    optim=SGD(peak_lr=0.1, momentum=0.9, nesterov=True, l2=5e-4, warmup=1950, final_fraction=0.0),
    place=PlacementSpec(),
    run=Run(steps=78000, eval_every=3900, save_every=3900, log_every=100, metric="eval/accuracy", maximize=True),
)

ablations = {
    "group norm": ("--model.norm", "group"),
    "no label smoothing": ("--loss.smoothing", "0"),
    "no zero initialisation": ("--model.no-zero-residual",),
}
