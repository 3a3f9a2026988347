"""A GAN makes handwritten digits of 28 x 28 pixels (MNIST), each of the class in its caption, on a CPU.

    python experiments/gan.py configs/gan_mnist.py
    jaxlm sample RUN --prompt "a handwritten three" --count 16

Data: TFDS mnist with captions of its classes. Score: not run.
"""

from jaxlm.data.captions.classes import DIGIT_WORDS, CaptionedClasses
from jaxlm.data.images.sources import TfdsImages
from jaxlm.losses import Adversarial
from jaxlm.models.bert import BERT
from jaxlm.models.gan import GAN
from jaxlm.optim import Adam
from jaxlm.train import Config, Run

experiment = "gan"

config = Config(
    model=GAN(
        encoder=BERT(vocab=64, depth=1, width=32, heads=2, context=8, activation="gelu"),
        shape=(28, 28, 1),
        latent=64,
        widths=(64, 32),
    ),
    data=CaptionedClasses(
        images=TfdsImages(name="mnist", batch=64, eval_batch=500),
        templates=("a handwritten {}", "the digit {}", "{} written by hand"),
        words=DIGIT_WORDS,
        width=4,
    ),
    loss=Adversarial(weight=0.05),
    decode=None,
    optim=Adam(peak_lr=1e-3, warmup=0, b1=0.0, b2=0.99),
    run=Run(steps=6000, ema=0.998, eval_every=2000, save_every=500, preview_every=1000, log_every=100),
)

ablations = {
    "no penalty": ("--loss.penalty", "none"),
    "hinge, spectral norm": ("--loss.game", "hinge", "--loss.penalty", "none", "--loss.spectral"),
    "residual": ("--model.residual",),
}
