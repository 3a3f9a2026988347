"""A small autoencoder turns handwritten digits of 8 x 8 pixels into 16 codes of a book of 64, on a CPU.

    python experiments/image_codes.py configs/vq_vae_digits.py --run.directory runs/vq_vae_digits

Data: the images of `configs/dit_digits.py`. Score and cost: see docs/design/pictures.md.
"""

from jaxlm.data.captions.classes import DIGIT_WORDS, CaptionedClasses
from jaxlm.data.images.sources import Digits
from jaxlm.losses import VectorQuantisation
from jaxlm.models.vq_vae import VQVAE
from jaxlm.optim import AdamW
from jaxlm.train import Config, Run

experiment = "image_codes"

config = Config(
    model=VQVAE(shape=(8, 8, 1), widths=(32,), book=64, code_width=4),
    data=CaptionedClasses(images=Digits(batch=64, eval_batch=360), words=DIGIT_WORDS, width=4),
    loss=VectorQuantisation(),
    optim=AdamW(peak_lr=2e-3, warmup=100, weight_decay=0.0, clip_norm=1.0, final_fraction=0.05),
    run=Run(steps=2000, ema=0.99, eval_every=500, save_every=500, preview_every=500, log_every=100),
)

ablations = {
    "no commitment": ("--loss.commitment", "0.0"),
    "a book of 16": ("--model.book", "16"),
}
