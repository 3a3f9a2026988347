"""Tune GPT-2 with 124 million parameters on conversations of your own by adapters: an accelerator's job.

    python experiments/instruction_tuning.py configs/gpt2_lora_chat.py --init.path GPT2 --data.tokenizer.path GPT2

GPT2 is the model's folder in Hugging Face's layout; chat_train.jsonl and chat_eval.jsonl hold the conversations, one a
line (see `jaxlm.data.text.chat`). Recipe: rank 4, alpha 32, AdamW at 2e-4 with weight decay 0.01 and 500 updates of
warm-up, as Hu et al. 2021, table 11, has it for GPT-2; all matrices of the blocks are adapted here and not only two of
the attention.
Cost: 2.8e16 floating-point operations for 2,000 updates of 16,384 tokens. Score: not run.
"""

from jaxlm.data import Chat, Pretrained
from jaxlm.models.adapted import Adapted
from jaxlm.models.gpt_shapes import GPT2_SMALL
from jaxlm.nn.lora import LoRA
from jaxlm.optim import AdamW
from jaxlm.parallel import PlacementSpec
from jaxlm.train import Config, Run

experiment = "instruction_tuning"

config = Config(
    model=Adapted(GPT2_SMALL, LoRA(rank=4, alpha=32)),
    data=Chat(
        tokenizer=Pretrained("gpt2"),
        template="chatml",
        batch=16,
        length=1024,
        overlong="cut",
    ),
    optim=AdamW(peak_lr=2e-4, warmup=500, schedule="linear", final_fraction=0.0, weight_decay=0.01, clip_norm=1.0),
    place=PlacementSpec("mesh"),
    run=Run(steps=2000, dtype="bfloat16", eval_every=200, save_every=200, log_every=10),
)

ablations = {
    "DoRA": ("--model.lora.dora",),
    "base in 8 bits": ("--model.bits", "8"),
    "base in 4 bits": ("--model.bits", "4"),
    "attention alone": ("--model.lora.pattern", "attention/.*kernel$"),
}
