"""A small diffusion transformer paints handwritten digits in the latents of an autoencoder, on a CPU.

    python experiments/image_codes.py configs/vq_vae_digits.py --run.directory runs/vq_vae_digits
    python experiments/latent_diffusion.py configs/latent_dit_digits.py
    jaxlm sample RUN --prompt "a handwritten three" --count 16

Data: as `configs/dit_digits.py`, which makes the same pictures pixel by pixel. Score and cost: see
docs/design/pictures.md.
"""

from jaxlm.data.captions.classes import DIGIT_WORDS, CaptionedClasses
from jaxlm.data.images.sources import Digits
from jaxlm.decode.pictures import Paint
from jaxlm.losses import FlowMatching
from jaxlm.models.bert import BERT
from jaxlm.models.dit import DiT
from jaxlm.models.latent_diffusion import LatentDiffusion
from jaxlm.models.vq_vae import VQVAE
from jaxlm.optim import AdamW
from jaxlm.train import Config, Run
from jaxlm.train.init_from import InitFrom

experiment = "latent_diffusion"

config = Config(
    model=LatentDiffusion(
        pictures=VQVAE(shape=(8, 8, 1), widths=(32,), book=64, code_width=4),
        painter=DiT(
            encoder=BERT(vocab=64, depth=1, width=32, heads=2, context=8, activation="gelu"),
            patch=1,
            depth=2,
            width=64,
            heads=4,
            hidden=192,
        ),
    ),
    data=CaptionedClasses(
        images=Digits(batch=64, eval_batch=360),
        templates=("a handwritten {}", "the digit {}", "{} written by hand"),
        words=DIGIT_WORDS,
        width=4,
    ),
    loss=FlowMatching(),
    decode=Paint(method="heun", steps=10, guidance=1.5),
    init=InitFrom("runs/vq_vae_digits", into="pictures"),
    optim=AdamW(peak_lr=2e-3, warmup=100, weight_decay=0.01, clip_norm=1.0, final_fraction=0.05, freeze="^pictures/"),
    run=Run(steps=1500, ema=0.99, eval_every=500, save_every=500, preview_every=500, log_every=100),
)

ablations = {
    "diffusion": ("--loss.path", "cosine"),
    "all captions": ("--loss.drop", "0.0"),
}
