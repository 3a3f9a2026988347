"""Handwritten digits and their captions as vectors of one space, on a CPU.

    python experiments/contrastive.py configs/clip_digits.py

Data: the images and captions of `configs/dit_digits.py`. Score and cost: see docs/design/pictures.md.
"""

from jaxlm.data.captions.classes import DIGIT_WORDS, CaptionedClasses
from jaxlm.data.images.sources import Digits
from jaxlm.models.bert import BERT
from jaxlm.models.clip import CLIP
from jaxlm.optim import AdamW
from jaxlm.train import Config, Run

experiment = "contrastive"

config = Config(
    model=CLIP(
        encoder=BERT(vocab=64, depth=1, width=32, heads=2, context=8, activation="gelu"), widths=(32, 64), width=32
    ),
    data=CaptionedClasses(
        images=Digits(batch=64, eval_batch=360),
        templates=("a handwritten {}",),
        words=DIGIT_WORDS,
        width=4,
    ),
    optim=AdamW(peak_lr=2e-3, warmup=50, weight_decay=0.1, clip_norm=1.0, final_fraction=0.05),
    run=Run(steps=400, eval_every=100, save_every=200, log_every=50, metric="eval/caption_at_1", maximize=True),
)
