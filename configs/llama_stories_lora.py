r"""Teach a tiny pretrained Llama, 260 thousand weights of children's stories, to tell what a question asks for.

    python scripts/prepare_trec_chat.py TREC .
    python experiments/instruction_tuning.py configs/llama_stories_lora.py --init.path STORIES \
        --data.tokenizer.path STORIES/reference.json

STORIES is the model's folder in Hugging Face's layout, TREC that of the TREC questions. Score and cost: see README,
Results. No story has the token of an end in it, so its vector was never trained: the table is adapted as well, or no
answer would end.
"""

from jaxlm.data import Chat, Pretrained
from jaxlm.models.adapted import Adapted
from jaxlm.models.gpt import GPT
from jaxlm.nn.lora import LoRA
from jaxlm.optim import AdamW
from jaxlm.parallel import PlacementSpec
from jaxlm.train import Config, Run

STORIES = GPT(
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
)

experiment = "instruction_tuning"

config = Config(
    model=Adapted(STORIES, LoRA(rank=8, alpha=16, pattern=r"(kernel|embedding)$")),
    data=Chat(
        path="chat_train.jsonl",
        eval_path="chat_eval.jsonl",
        tokenizer=Pretrained("tokenizer.json"),
        template="plain",
        batch=8,
        length=256,
    ),
    optim=AdamW(peak_lr=3e-3, warmup=20, weight_decay=0.0, clip_norm=1.0),
    place=PlacementSpec(),
    run=Run(steps=200, eval_every=100, save_every=100, log_every=50),
)

ablations = {
    "rank 1": ("--model.lora.rank", "1"),
    "DoRA": ("--model.lora.dora",),
    "kernels alone": ("--model.lora.pattern", "kernel$"),
    "base in 8 bits": ("--model.bits", "8"),
    "base in 4 bits": ("--model.bits", "4"),
    "all parameters": ("--model.lora.rank", "0", "--model.lora.full", "."),
}
