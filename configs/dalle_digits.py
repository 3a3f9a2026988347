"""A small transformer writes handwritten digits of 8 x 8 pixels in 16 codes, given a caption, on a CPU.

    python experiments/image_codes.py configs/vq_vae_digits.py --run.directory runs/vq_vae_digits
    python experiments/caption_to_codes.py configs/dalle_digits.py
    jaxlm sample RUN --prompt "a handwritten three" --count 16

Data: as `configs/dit_digits.py`, which makes the same pictures by flow matching. Score and cost: see
docs/design/pictures.md.
"""

from jaxlm.data.captions.classes import DIGIT_WORDS, CaptionedClasses
from jaxlm.data.images.sources import Digits
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
        pictures=VQVAE(shape=(8, 8, 1), widths=(32,), book=64, code_width=4),
        transformer=GPT(vocab=96, depth=2, width=96, heads=4, context=20, dropout=0.2),
    ),
    data=CaptionedClasses(
        images=Digits(batch=64, eval_batch=360),
        templates=("a handwritten {}", "the digit {}", "{} written by hand"),
        words=DIGIT_WORDS,
        width=4,
    ),
    loss=NextCode(),
    decode=PaintCodes(temperature=0.9, guidance=2.0),
    init=InitFrom("runs/vq_vae_digits", into="pictures"),
    optim=AdamW(peak_lr=2e-3, warmup=50, weight_decay=0.1, clip_norm=1.0, final_fraction=0.05, freeze="^pictures/"),
    run=Run(steps=800, ema=0.99, eval_every=200, save_every=200, preview_every=200, log_every=100),
)

ablations = {
    "no guidance": ("--decode.guidance", "1.0"),
    "all captions": ("--loss.drop", "0.0"),
}
