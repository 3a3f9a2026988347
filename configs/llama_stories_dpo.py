r"""Preferences for a tiny Llama: the right kind of answer to a TREC question over a wrong one.

    python experiments/preference_tuning.py configs/llama_stories_dpo.py --init.path RUN \
        --data.tokenizer.path STORIES/reference.json

RUN is a run of configs/llama_stories_lora.py (its adapters are merged, and are the reference), or the folder STORIES
itself. The data is that of scripts/prepare_trec_chat.py. Score and cost: see README, Results.
"""

from jaxlm.data import Preferences, Pretrained
from jaxlm.losses import DPO
from jaxlm.models.adapted import Adapted
from jaxlm.models.gpt import GPT
from jaxlm.nn.lora import LoRA
from jaxlm.optim import AdamW
from jaxlm.parallel import PlacementSpec
from jaxlm.train import Config, Run

experiment = "preference_tuning"

config = Config(
    model=Adapted(
        GPT(
            vocab=512,
            depth=5,
            width=64,
            heads=8,
            kv_heads=4,
            hidden=172,
            context=512,
            norm="rms",
            activation="swiglu",
            positions="rotary",
            bias=False,
        ),
        LoRA(rank=8, alpha=16),
    ),
    data=Preferences(
        path="preferences_train.jsonl",
        eval_path="preferences_eval.jsonl",
        tokenizer=Pretrained("tokenizer.json"),
        template="plain",
        batch=16,
        length=128,
        overlong="skip",
    ),
    loss=DPO(beta=0.1),
    optim=AdamW(peak_lr=1e-3, warmup=10, weight_decay=0.0, clip_norm=1.0),
    place=PlacementSpec(),
    run=Run(steps=100, eval_every=50, save_every=50, log_every=25, metric="eval/accuracy", maximize=True),
)
