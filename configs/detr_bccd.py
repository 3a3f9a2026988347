"""DETR with a small backbone and transformer finds blood cells under a microscope (BCCD), from scratch, on a CPU.

    python experiments/detection.py configs/detr_bccd.py
    jaxlm predict RUN CELLS.jpg --json

Data: TFDS bccd, 205 training and 72 test images of 640 x 480 with red and white blood cells and platelets. Score and
cost: see docs/design/detection.md.
"""

from jaxlm.data.boxes import TfdsBoxes
from jaxlm.data.boxes.augment import FlipBoxes, Light, ScaleBoxes
from jaxlm.decode.detection import DetectSet
from jaxlm.losses import SetPrediction
from jaxlm.models.detr import DETR
from jaxlm.optim import AdamW
from jaxlm.train import Config, Run

experiment = "detection"

config = Config(
    model=DETR(classes=3, queries=50, widths=(32, 64, 96), width=96, heads=4, encoder_depth=2, decoder_depth=3),
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
    loss=SetPrediction(),
    decode=DetectSet(),
    optim=AdamW(peak_lr=1e-3, warmup=100, weight_decay=0.05, clip_norm=10.0, final_fraction=0.01),
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
    "the last layer of the decoder alone": ("--model.decoder-depth", "1"),
}
