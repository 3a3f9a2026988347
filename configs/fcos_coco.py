r"""FCOS on COCO (Lin et al. 2014), the field's data, on accelerators; a recipe that was not run in full.

    python experiments/detection.py configs/fcos_coco.py --data.train-images COCO/train2017 \
        --data.train-file COCO/annotations/instances_train2017.json --data.eval-images COCO/val2017 \
        --data.eval-file COCO/annotations/instances_val2017.json

Tian et al. 2019 reach 38.7 mAP with a ResNet-50 that was pretrained on ImageNet; this backbone is smaller and begins
anew.
"""

from jaxlm.data.boxes import CocoBoxes
from jaxlm.data.boxes.augment import FlipBoxes, Light, ScaleBoxes
from jaxlm.decode.detection import Detect
from jaxlm.losses import Detection
from jaxlm.models.fcos import FCOS
from jaxlm.optim import AdamW
from jaxlm.parallel import PlacementSpec
from jaxlm.train import Config, Run

experiment = "detection"

config = Config(
    model=FCOS(classes=80, widths=(64, 128, 256, 512), blocks=2, width=256, depth=4),
    data=CocoBoxes(
        size=(512, 640),
        most=120,
        batch=64,
        eval_batch=64,
        broken="skip",
        augment=(FlipBoxes(), ScaleBoxes(0.5, 1.5), Light()),
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
    ),
    loss=Detection(reach=(96.0, 192.0)),
    decode=Detect(candidates=1000),
    optim=AdamW(peak_lr=1e-3, warmup=1000, weight_decay=0.05, clip_norm=10.0, final_fraction=0.01),
    place=PlacementSpec(kind="mesh"),
    run=Run(
        steps=90_000,
        ema=0.9998,
        dtype="bfloat16",
        eval_every=10_000,
        save_every=2500,
        log_every=100,
        workers=8,
        metric="boxes/map",
        maximize=True,
    ),
)
