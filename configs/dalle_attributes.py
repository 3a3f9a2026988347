"""A transformer writes coloured digits in 49 codes, given a caption such as "a red three on the left", on a CPU.

    python experiments/image_codes.py configs/vq_vae_attributes.py --run.directory runs/vq_vae_attributes
    python experiments/caption_to_codes.py configs/dalle_attributes.py
    jaxlm sample RUN --prompt "a red three on the left" --count 16

Data: as `configs/dit_attributes.py`, which makes the same pictures by flow matching; no training has an image of the
pairs in `held_out`. Score: not run.
"""

from jaxlm.data.captions.attributes import CaptionedAttributes
from jaxlm.data.images.sources import TfdsImages
from jaxlm.decode.picture_codes import PaintCodes
from jaxlm.losses import NextCode
from jaxlm.models.dalle import DALLE
from jaxlm.models.gpt import GPT
from jaxlm.models.vq_vae import VQVAE
from jaxlm.optim import AdamW
from jaxlm.train import Config, Run
from jaxlm.train.init_from import InitFrom

experiment = "caption_to_codes"

config = Config(
    model=DALLE(
        pictures=VQVAE(shape=(28, 28, 3), widths=(16, 32), book=128, code_width=8),
        transformer=GPT(vocab=160, depth=2, width=128, heads=4, context=54),
    ),
    data=CaptionedAttributes(
        images=TfdsImages(name="mnist", batch=32, eval_batch=500),
        held_out=("red three", "green seven", "blue one", "yellow eight"),
        width=6,
    ),
    loss=NextCode(),
    decode=PaintCodes(temperature=0.9, guidance=2.0),
    init=InitFrom("runs/vq_vae_attributes", into="pictures"),
    optim=AdamW(peak_lr=2e-3, warmup=100, weight_decay=0.1, clip_norm=1.0, final_fraction=0.05, freeze="^pictures/"),
    run=Run(steps=4000, ema=0.995, eval_every=2000, save_every=500, preview_every=2000, log_every=100),
)
