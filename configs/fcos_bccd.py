"""FCOS with a small backbone finds blood cells under a microscope (BCCD), from scratch, on a CPU.

    python experiments/detection.py configs/fcos_bccd.py
    jaxlm predict RUN CELLS.jpg --json

Data: TFDS bccd, 205 training and 72 test images of 640 x 480 with red and white blood cells and platelets. Score and
cost: see docs/design/detection.md.
"""

from jaxlm.data.boxes import TfdsBoxes
from jaxlm.data.boxes.augment import FlipBoxes, Light, ScaleBoxes
from jaxlm.decode.detection import Detect
from jaxlm.losses import Detection
from jaxlm.models.fcos import FCOS
from jaxlm.optim import AdamW
from jaxlm.train import Config, Run

experiment = "detection"

config = Config(
    model=FCOS(classes=3, widths=(32, 64, 96, 128), blocks=1, width=64, depth=2),
    data=TfdsBoxes(
        name="bccd",
        size=(240, 320),
        most=40,
        broken="skip",
        batch=8,
        eval_batch=24,
        augment=(FlipBoxes(0.5, 0.5), ScaleBoxes(0.75, 1.5), Light(0.1, 0.25)),
        mean=(0.66, 0.64, 0.69),
        std=(0.2, 0.2, 0.2),
    ),
    loss=Detection(reach=(64.0, 128.0)),
    decode=Detect(),
    optim=AdamW(peak_lr=2e-3, warmup=100, weight_decay=0.05, clip_norm=10.0, final_fraction=0.01),
    run=Run(
        steps=1500,
        ema=0.998,
        eval_every=500,
        save_every=500,
        preview_every=500,
        log_every=50,
        metric="boxes/map",
        maximize=True,
    ),
)

ablations = {
    "one size": ("--data.augment.1.low", "1", "--data.augment.1.high", "1"),
}
