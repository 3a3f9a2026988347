"""A transformer in the shape of Llama 3.2 1B (RMSNorm, SwiGLU, rotary positions, grouped queries), fully sharded.

    python scripts/train_tokenizer.py --tfds lm1b --vocab 128256 --out tokenizer.json
    python experiments/language_model.py configs/llama_1b.py

Data: TFDS lm1b (prepare it once: python scripts/prepare_tfds.py lm1b). Shape: Grattafiori et al. 2024.
Cost: an accelerator's job. Score: not run.
"""

from jaxlm.data import BPE, TfdsText
from jaxlm.models.gpt_shapes import LLAMA_1B
from jaxlm.optim import AdamW
from jaxlm.parallel import PlacementSpec
from jaxlm.train import Config, Run

experiment = "language_model"

config = Config(
    model=LLAMA_1B.clone(context=2048, remat=True, scan=True),
    data=TfdsText(name="lm1b", eval_split="test", tokenizer=BPE("tokenizer.json"), batch=256, length=2048, pack=True),
    optim=AdamW(
        peak_lr=3e-4, warmup=2000, schedule="wsd", final_fraction=0.0, b2=0.95, weight_decay=0.1, clip_norm=1.0
    ),
    place=PlacementSpec("mesh", fsdp=4),
    run=Run(steps=20_000, accumulate=16, dtype="bfloat16", eval_every=1000, save_every=1000, log_every=10),
)
