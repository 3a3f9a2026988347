"""The peer of bench_train.py: GPT-2 in plain eager PyTorch, and its training step with AdamW.

b batch, t tokens, w width.
"""

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn


class Block(nn.Module):
    """x + attention(norm(x)), then x + down(gelu(up(norm(x))))."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)
        self.feed_forward_norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply the layer to [b, t, w]."""
        b, t, w = x.shape
        q, k, v = (
            z.view(b, t, self.heads, -1).transpose(1, 2) for z in self.qkv(self.attention_norm(x)).split(w, dim=2)
        )
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.output(y.transpose(1, 2).reshape(b, t, w))
        return x + self.down(F.gelu(self.up(self.feed_forward_norm(x)), approximate="tanh"))


class TorchGPT(nn.Module):
    """The architecture of `jaxlm.models.gpt.GPT` with its default fields and no dropout."""

    def __init__(self, vocab: int, depth: int, width: int, heads: int, context: int):
        super().__init__()
        self.embed = nn.Embedding(vocab, width)
        self.position_embed = nn.Embedding(context, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.final_norm = nn.LayerNorm(width)

    def forward(self, tokens: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the mean cross entropy of int64 [b, t] targets after int64 [b, t] tokens."""
        x = self.embed(tokens) + self.position_embed.weight[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x)
        logits = F.linear(self.final_norm(x), self.embed.weight)
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten())

    def load(self, params: Mapping[str, Mapping]) -> "TorchGPT":
        """Take over the parameters of the jaxlm model, a nested dict of arrays."""
        flat = dict(_flatten(params))
        state = {}
        for name in self.state_dict():
            path = name.split(".")
            if path[0] == "blocks":
                path[:2] = [f"block_{path[1]}"]
                owner = {"qkv": "attention", "output": "attention", "up": "feed_forward", "down": "feed_forward"}
                path[1:1] = [owner[path[1]]] if path[1] in owner else []
            stem = "/".join(path[:-1])
            kinds = ("kernel", "scale", "embedding") if path[-1] == "weight" else ("bias",)
            (kind,) = (kind for kind in kinds if f"{stem}/{kind}" in flat)
            value = flat.pop(f"{stem}/{kind}")
            state[name] = torch.from_numpy((value.T if kind == "kernel" else value).copy())
        if flat:
            raise ValueError(f"the PyTorch model has no place for {', '.join(flat)}")
        self.load_state_dict(state)
        return self


def training_step(
    model: TorchGPT, peak: float, b1: float, b2: float, decay: float, clip: float
) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """One update by AdamW, fused (the fastest of its forms on CPUs); matrices decay and vectors do not."""
    params = list(model.parameters())
    groups = [
        {"params": [p for p in params if p.ndim > 1], "weight_decay": decay},
        {"params": [p for p in params if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=peak, betas=(b1, b2), eps=1e-8, fused=True)

    def step(tokens: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        optimizer.zero_grad(set_to_none=True)
        loss = model(tokens, targets)
        loss.backward()
        nn.utils.clip_grad_norm_(params, clip)
        optimizer.step()
        return loss

    return step


def _flatten(tree: Mapping, prefix: str = "") -> Iterator[tuple[str, np.ndarray]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{name}/")
        else:
            yield prefix + name, np.asarray(value)
