"""A U-Net makes emoji of 32 x 32 pixels of their names.

    python experiments/text_to_image.py configs/dit_emoji32.py --data.path EMOJI32/captions.csv
    jaxlm sample RUN --prompt "grinning face" --count 16

Data: a table of captions in the order of the tiles of `emoji32.webp` beside it. Those of one `base`, such as the five
colours of a hand, are in one part. Score: not run.
"""

from jaxlm.data.captions.files import CaptionFile
from jaxlm.data.tokenizers.specs import Words
from jaxlm.decode.pictures import Paint
from jaxlm.losses import FlowMatching
from jaxlm.models.bert import BERT
from jaxlm.models.unet import UNet
from jaxlm.optim import AdamW
from jaxlm.train import Config, Run

experiment = "text_to_image"

config = Config(
    model=UNet(
        encoder=BERT(vocab=2048, depth=2, width=64, heads=2, context=16, activation="gelu"),
        widths=(32, 64, 128),
        blocks=1,
        heads=4,
    ),
    data=CaptionFile(
        path="captions.csv",
        sheet="emoji32.webp",
        group="base",
        size=32,
        width=16,
        batch=64,
        eval_batch=96,
        tokenizer=Words(size=2048),
    ),
    loss=FlowMatching(),
    decode=Paint(method="heun", steps=20, guidance=2.0),
    optim=AdamW(peak_lr=1e-3, warmup=200, weight_decay=0.01, clip_norm=1.0, final_fraction=0.05),
    run=Run(steps=12000, ema=0.999, eval_every=2000, save_every=500, preview_every=1000, log_every=100),
)
