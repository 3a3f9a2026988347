"""Emoji of 32 x 32 pixels and their names as vectors of one space, on a CPU.

    python experiments/contrastive.py configs/clip_emoji32.py --data.path EMOJI32/captions.csv

Data: as `configs/dit_emoji32.py`. Score and cost: see docs/design/pictures.md.
"""

from jaxlm.data.captions.files import CaptionFile
from jaxlm.data.tokenizers.specs import Words
from jaxlm.models.bert import BERT
from jaxlm.models.clip import CLIP
from jaxlm.optim import AdamW
from jaxlm.train import Config, Run

experiment = "contrastive"

config = Config(
    model=CLIP(
        encoder=BERT(vocab=2048, depth=1, width=64, heads=2, context=16, activation="gelu", dropout=0.2),
        widths=(32, 64, 96),
        width=64,
    ),
    data=CaptionFile(
        path="captions.csv",
        sheet="emoji32.webp",
        group="base",
        size=32,
        width=16,
        batch=128,
        eval_batch=96,
        tokenizer=Words(size=2048),
    ),
    optim=AdamW(peak_lr=2e-3, warmup=50, weight_decay=0.2, clip_norm=1.0, final_fraction=0.05),
    run=Run(
        steps=400, ema=0.99, eval_every=100, save_every=100, log_every=50, metric="eval/caption_at_5", maximize=True
    ),
)
