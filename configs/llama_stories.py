r"""A tiny pretrained Llama, 260 thousand weights of children's stories, tuned to Shakespeare.

    python experiments/language_model.py configs/llama_stories.py --init.path STORIES \
        --data.tokenizer.path STORIES/reference.json

STORIES is the folder in Hugging Face's layout. Data: TFDS tiny_shakespeare. Cost and score: see README, Results.
"""

from jaxlm.data import Pretrained, TfdsText
from jaxlm.models.gpt_shapes import LLAMA_STORIES
from jaxlm.optim import AdamW
from jaxlm.parallel import PlacementSpec
from jaxlm.train import Config, Run

experiment = "language_model"

config = Config(
    model=LLAMA_STORIES,
    data=TfdsText(
        name="tiny_shakespeare",
        eval_split="validation",
        tokenizer=Pretrained("tokenizer.json"),
        batch=16,
        length=128,
        eval_batch=32,
    ),
    optim=AdamW(peak_lr=2e-3, warmup=50, weight_decay=0.1, clip_norm=1.0),
    place=PlacementSpec(),
    run=Run(steps=600, eval_every=200, save_every=200),
)

ablations = {
    "half the rate": ("--optim.peak-lr", "1e-3"),
}
