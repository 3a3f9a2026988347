"""A diffusion transformer makes handwritten digits of 28 x 28 pixels (MNIST) of captions, on a CPU.

    python experiments/text_to_image.py configs/dit_mnist_captions.py
    jaxlm sample RUN --prompt "a handwritten three" --count 16

Data: TFDS mnist with captions of its classes. Score: not run.
"""

from jaxlm.data.captions.classes import DIGIT_WORDS, CaptionedClasses
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
        encoder=BERT(vocab=64, depth=1, width=32, heads=2, context=8, activation="gelu"),
        patch=4,
        depth=4,
        width=128,
        heads=4,
    ),
    data=CaptionedClasses(
        images=TfdsImages(name="mnist", batch=64, eval_batch=500),
        templates=("a handwritten {}", "the digit {}", "{} written by hand"),
        words=DIGIT_WORDS,
        width=4,
    ),
    loss=FlowMatching(),
    decode=Paint(method="heun", steps=20, guidance=1.5),
    optim=AdamW(peak_lr=1e-3, warmup=200, weight_decay=0.01, clip_norm=1.0, final_fraction=0.05),
    run=Run(steps=8000, ema=0.998, eval_every=2000, save_every=500, preview_every=1000, log_every=100),
)

ablations = {"diffusion": ("--loss.path", "cosine"), "all captions": ("--loss.drop", "0.0")}
