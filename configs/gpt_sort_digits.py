"""A tiny GPT that learns to sort digits from the reward of its answers alone, on a CPU.

    python experiments/reward_tuning.py configs/gpt_sort_digits.py
    jaxlm predict RUN "4203="

The reward is the share of the places of the answer that are right. Score and cost: see docs/design/replay.md.
"""

from jaxlm.data.text.prompts import DigitPrompts
from jaxlm.losses import GRPO
from jaxlm.losses.rewards import SortedDigits
from jaxlm.models.adapted import Adapted
from jaxlm.models.gpt import GPT
from jaxlm.nn.lora import LoRA
from jaxlm.optim import AdamW
from jaxlm.train import Config, Run

experiment = "reward_tuning"

config = Config(
    model=Adapted(GPT(vocab=12, depth=2, width=64, heads=4, context=16), LoRA(rank=0, full=".")),
    data=DigitPrompts(digits=3, batch=32, held_out=100, eval_batch=100),
    loss=GRPO(reward=SortedDigits(), group=8, length=4, beta=0.001),
    optim=AdamW(peak_lr=1e-3, warmup=20, weight_decay=0.0, clip_norm=1.0),
    run=Run(steps=800, log_every=20, eval_every=100, save_every=100, metric="eval/reward"),
)
