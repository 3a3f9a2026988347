"""A small GAN makes handwritten digits of 8 x 8 pixels, each of the class in its caption, on a CPU.

    python experiments/gan.py configs/gan_digits.py
    jaxlm sample RUN --prompt "a handwritten three" --count 16

Data: the 1,437 training images of scikit-learn's digits with captions of their classes. Score and cost: see
docs/design/pictures.md.
"""

from jaxlm.data.captions.classes import DIGIT_WORDS, CaptionedClasses
from jaxlm.data.images.sources import Digits
from jaxlm.losses import Adversarial
from jaxlm.models.bert import BERT
from jaxlm.models.gan import GAN
from jaxlm.optim import Adam
from jaxlm.train import Config, Run

experiment = "gan"

config = Config(
    model=GAN(
        encoder=BERT(vocab=64, depth=1, width=32, heads=2, context=8, activation="gelu"),
        shape=(8, 8, 1),
        latent=32,
        widths=(64, 32),
    ),
    data=CaptionedClasses(
        images=Digits(batch=64, eval_batch=360),
        templates=("a handwritten {}", "the digit {}", "{} written by hand"),
        words=DIGIT_WORDS,
        width=4,
    ),
    loss=Adversarial(weight=0.5),
    decode=None,
    optim=Adam(peak_lr=1e-3, warmup=0, b1=0.0, b2=0.99),
    run=Run(steps=3000, ema=0.995, eval_every=1000, save_every=1000, preview_every=1000, log_every=100),
)

ablations = {
    "no penalty": ("--loss.penalty", "none"),
    "hinge, spectral norm": ("--loss.game", "hinge", "--loss.penalty", "none", "--loss.spectral"),
    "wasserstein": ("--loss.game", "wasserstein", "--loss.penalty", "gradient", "--loss.weight", "10"),
    "residual": ("--model.residual",),
}
