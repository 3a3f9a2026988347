"""GPT-2 with 124 million parameters, in bfloat16, 524,288 tokens an update: an accelerator's job.

    python scripts/train_tokenizer.py --tfds lm1b --vocab 50257 --out tokenizer.json
    python experiments/language_model.py configs/gpt2_124m.py

Data: the one-billion-word corpus, TFDS lm1b (prepare it once: python scripts/prepare_tfds.py lm1b).
Recipe: Radford et al. 2019 for the shape; AdamW, 6e-4, 0.1 decay, 2,000 updates of warm-up, as Brown et al. 2020,
table 2.1 and appendix B. Cost: 9.0e18 floating-point operations for 20,000 updates. Score: not run.
"""

from jaxlm.data import BPE, TfdsText
from jaxlm.models.gpt_shapes import GPT2_SMALL
from jaxlm.optim import AdamW
from jaxlm.parallel import PlacementSpec
from jaxlm.train import Config, Run

experiment = "language_model"

config = Config(
    model=GPT2_SMALL,
    data=TfdsText(
        name="lm1b",
        eval_split="test",
        tokenizer=BPE("tokenizer.json"),
        batch=512,
        length=1024,
        eval_batch=64,
        pack=True,
    ),
    optim=AdamW(peak_lr=6e-4, warmup=2000, final_fraction=0.1, b2=0.95, weight_decay=0.1, clip_norm=1.0),
    place=PlacementSpec("mesh"),
    run=Run(steps=20_000, accumulate=32, dtype="bfloat16", eval_every=1000, save_every=1000, log_every=10),
)

# The larger shapes of the family (Radford et al. 2019, table 2).
ablations = {
    "350M": ("--model.depth", "24", "--model.width", "1024", "--model.heads", "16"),
    "774M": ("--model.depth", "36", "--model.width", "1280", "--model.heads", "20", "--place.fsdp", "2"),
    "1.5B": ("--model.depth", "48", "--model.width", "1600", "--model.heads", "25", "--place.fsdp", "4"),
}
