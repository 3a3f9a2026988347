"""An autoencoder turns coloured digits of 28 x 28 pixels into 49 codes of a book of 128, on a CPU.

    python experiments/image_codes.py configs/vq_vae_attributes.py --run.directory runs/vq_vae_attributes

Data: the images of `configs/dit_attributes.py`. Score: not run.
"""

from jaxlm.data.captions.attributes import CaptionedAttributes
from jaxlm.data.images.sources import TfdsImages
from jaxlm.losses import VectorQuantisation
from jaxlm.models.vq_vae import VQVAE
from jaxlm.optim import AdamW
from jaxlm.train import Config, Run

experiment = "image_codes"

config = Config(
    model=VQVAE(shape=(28, 28, 3), widths=(16, 32), book=128, code_width=8),
    data=CaptionedAttributes(
        images=TfdsImages(name="mnist", batch=32, eval_batch=500),
        held_out=("red three", "green seven", "blue one", "yellow eight"),
        width=6,
    ),
    loss=VectorQuantisation(),
    optim=AdamW(peak_lr=2e-3, warmup=100, weight_decay=0.0, clip_norm=1.0, final_fraction=0.05),
    run=Run(steps=2000, ema=0.99, eval_every=1000, save_every=500, preview_every=1000, log_every=100),
)
