"""A diffusion transformer makes pictures of the ten classes of CIFAR-10 of captions, for an accelerator.

    python experiments/text_to_image.py configs/dit_cifar10.py --run.dtype bfloat16

Data: TFDS cifar10, or `--data.images.arrays FOLDER` with train.npz and test.npz. Score: not run, for want of an
accelerator.
"""

from jaxlm.data.captions.classes import CaptionedClasses
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
        encoder=BERT(vocab=64, depth=2, width=128, heads=4, context=8, activation="gelu"),
        patch=2,
        depth=12,
        width=384,
        heads=6,
    ),
    data=CaptionedClasses(
        images=TfdsImages(name="cifar10", batch=256, eval_batch=500),
        templates=("a photo of {}", "{}", "a small picture of {}"),
        words=(
            *("an airplane", "an automobile", "a bird", "a cat", "a deer"),
            *("a dog", "a frog", "a horse", "a ship", "a truck"),
        ),
        width=8,
    ),
    loss=FlowMatching(),
    decode=Paint(method="heun", steps=50, guidance=1.5),
    optim=AdamW(peak_lr=2e-4, warmup=5000, weight_decay=0.0, clip_norm=1.0, final_fraction=0.1),
    run=Run(steps=400000, ema=0.9999, eval_every=10000, save_every=5000, preview_every=10000, log_every=500),
)
