"""A diffusion transformer makes digits in a colour at a place: "a red three on the left".

    python experiments/text_to_image.py configs/dit_attributes.py
    jaxlm sample RUN --prompt "a red three on the left" --count 16

Training has no image of the pairs in `held_out`, so a picture of "a green seven at the top" shows whether colour and
digit are combined. Data: TFDS mnist. Score and cost: see docs/design/pictures.md; `configs/dalle_attributes.py` makes
better digits in less time.
"""

from jaxlm.data.captions.attributes import CaptionedAttributes
from jaxlm.data.images.sources import TfdsImages
from jaxlm.decode.pictures import Paint
from jaxlm.losses import FlowMatching
from jaxlm.models.bert import BERT
from jaxlm.models.dit import DiT
from jaxlm.optim import AdamW
from jaxlm.train import Config, Run

experiment = "text_to_image"

config = Config(
    model=DiT(
        encoder=BERT(vocab=64, depth=2, width=64, heads=2, context=8, activation="gelu"),
        patch=4,
        depth=4,
        width=96,
        heads=3,
    ),
    data=CaptionedAttributes(
        images=TfdsImages(name="mnist", batch=32, eval_batch=500),
        held_out=("red three", "green seven", "blue one", "yellow eight"),
        width=6,
    ),
    loss=FlowMatching(),
    decode=Paint(method="heun", steps=20, guidance=2.0),
    optim=AdamW(peak_lr=1e-3, warmup=200, weight_decay=0.01, clip_norm=1.0, final_fraction=0.05),
    run=Run(steps=6000, ema=0.998, eval_every=3000, save_every=500, preview_every=3000, log_every=100),
)
