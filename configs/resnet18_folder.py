r"""Fine-tune on a folder of your own images: one sub-folder for each class, under `train` and `val` or at the top.

    python experiments/image_classification.py configs/resnet18_folder.py --data.path FOLDER --model.classes 2 \
        --init.path RUN_OR_WEIGHTS

`--init.path` is a run directory of this network, or a .safetensors file of a torchvision `resnet18`; without it all
parameters are drawn anew. The head is always new, and the layers near the input learn more slowly. To train the head
alone: `--optim.freeze '^(?!head)'`. Score and cost of this way of fine-tuning on ants and bees: see README, Results.
"""

from jaxlm.data.images.augment import HorizontalFlip
from jaxlm.data.images.folder import ImageFolder
from jaxlm.losses import Classification
from jaxlm.models.resnet import resnet18
from jaxlm.optim import SGD, layerwise
from jaxlm.parallel import PlacementSpec
from jaxlm.train import Config, Run

experiment = "image_classification"

config = Config(
    model=resnet18(classes=2),
    data=ImageFolder(
        path="images",
        size=224,
        crop="random",
        batch=32,
        augment=(HorizontalFlip(),),
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
    ),
    loss=Classification(),
    optim=SGD(
        peak_lr=0.01,
        momentum=0.9,
        l2=1e-4,
        warmup=20,
        final_fraction=0.0,
        groups=layerwise(("^stem", "^stage_0", "^stage_1", "^stage_2", "^stage_3", "^head"), 0.6),
    ),
    place=PlacementSpec(),
    run=Run(steps=400, eval_every=50, save_every=50, patience=4, metric="eval/accuracy", maximize=True),
)
