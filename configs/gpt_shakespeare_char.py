"""The well-known character-level Shakespeare setting: 10.7 million parameters, 5,000 updates of 16,384 characters.

    python experiments/language_model.py configs/gpt_shakespeare_char.py

Data: TFDS tiny_shakespeare, trained on its train split (90 % of the text), evaluated on validation (the next 5 %).
Cost and score: not run here (an accelerator's job: 5.8e15 floating-point operations in all).
The setting for a CPU stands in gpt_shakespeare_char_cpu.py.
"""

from jaxlm.data import Characters, TfdsText
from jaxlm.models.gpt import GPT
from jaxlm.optim import AdamW
from jaxlm.parallel import PlacementSpec
from jaxlm.train import Config, Run

experiment = "language_model"

config = Config(
    model=GPT(vocab=65, depth=6, width=384, heads=6, context=256, dropout=0.2, bias=False),
    data=TfdsText(name="tiny_shakespeare", tokenizer=Characters(), batch=64, length=256),
    optim=AdamW(peak_lr=1e-3, warmup=100, final_fraction=0.1, b2=0.99, weight_decay=0.1, clip_norm=1.0),
    place=PlacementSpec(),
    run=Run(steps=5000, eval_every=250, save_every=250, log_every=50, patience=8),
)
