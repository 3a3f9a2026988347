"""A byte-level transformer on the source of Python's own standard library: real text, no download.

    python experiments/language_model.py configs/gpt_stdlib.py

Cost and score: see README, Results. To train on a text of your own: --data.path FILE_OR_FOLDER.
"""

from jaxlm.data import Bytes, Text
from jaxlm.models.gpt import GPT
from jaxlm.optim import AdamW
from jaxlm.parallel import PlacementSpec
from jaxlm.train import Config, Run

experiment = "language_model"

config = Config(
    model=GPT(vocab=256, depth=4, width=192, heads=4, context=128),
    data=Text(path=None, tokenizer=Bytes(), batch=16, length=128, eval_batch=64, eval_fraction=0.02),
    optim=AdamW(peak_lr=2e-3, warmup=100, weight_decay=0.1, clip_norm=1.0),
    place=PlacementSpec(),
    run=Run(steps=1000, eval_every=200, save_every=200, seed=0),
)

ablations = {
    "no warm-up": ("--optim.warmup", "0"),
    "half width": ("--model.width", "96"),
}
