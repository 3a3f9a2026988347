"""The pre-norm transformer of `jaxlm.models.transformer` out of PyTorch's layers: a peer of bench_translation.py."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F


class TorchTransformer(nn.Module):
    """Encoder and decoder of PyTorch's own layers, one table of tokens, sinusoidal positions.

    Dropout is where jaxlm has it: on the embeddings and on the output of each branch.
    """

    def __init__(self, vocab: int, depth: int, width: int, heads: int, hidden: int, dropout: float):
        super().__init__()
        options: dict[str, Any] = {"batch_first": True, "norm_first": True, "dropout": dropout}
        self.table, self.width, self.drop = nn.Embedding(vocab, width), width, nn.Dropout(dropout)
        self.encoder = nn.ModuleList(nn.TransformerEncoderLayer(width, heads, hidden, **options) for _ in range(depth))
        self.decoder = nn.ModuleList(nn.TransformerDecoderLayer(width, heads, hidden, **options) for _ in range(depth))
        self.encoder_norm, self.decoder_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        layer: Any
        for layer in [*self.encoder, *self.decoder]:
            layer.dropout.p = layer.self_attn.dropout = 0.0
        for layer in self.decoder:
            layer.multihead_attn.dropout = 0.0

    def load(self, params: Mapping[str, Any]) -> "TorchTransformer":
        """Take jaxlm's parameters; kernels are transposed, and the three of an attention joined."""
        set_(self.table.weight, params["embed"]["embedding"])
        for name in ("encoder", "decoder"):
            load_norm(getattr(self, f"{name}_norm"), params[name]["final_norm"])
            for number, layer in enumerate(getattr(self, name)):
                load_layer(layer, params[name][f"block_{number}"])
        return self

    def forward(self, tokens: Any, given: Any, targets: Any, pad: Any, target_pad: Any, smoothing: float) -> Any:
        """Return the mean cross entropy of the target tokens that are not padding."""
        memory, hidden = self._embed(tokens), self._embed(given)
        future = torch.triu(torch.ones(given.shape[1], given.shape[1], dtype=torch.bool), 1)
        for layer in self.encoder:
            memory = layer(memory, src_key_padding_mask=pad)
        memory = self.encoder_norm(memory)
        for layer in self.decoder:
            hidden = layer(
                hidden, memory, tgt_mask=future, tgt_key_padding_mask=target_pad, memory_key_padding_mask=pad
            )
        logits = self.decoder_norm(hidden) @ self.table.weight.T
        wanted = targets.masked_fill(target_pad, -100)
        return F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), label_smoothing=smoothing)

    def _embed(self, ids: Any) -> Any:
        places = torch.arange(ids.shape[1])[:, None]
        rates = 10000 ** (-torch.arange(self.width // 2) / (self.width // 2 - 1))
        angles = places * rates
        return self.drop(self.table(ids) * self.width**0.5 + torch.cat([angles.sin(), angles.cos()], 1))


def set_(theirs: Any, ours: Any) -> None:
    """Copy an array into a parameter."""
    theirs.data = torch.from_numpy(np.array(ours, np.float32))


def load_linear(theirs: Any, ours: Mapping[str, Any]) -> None:
    """Copy a projection."""
    set_(theirs.weight, np.asarray(ours["kernel"]).T)
    set_(theirs.bias, ours["bias"])


def load_norm(theirs: Any, ours: Mapping[str, Any]) -> None:
    """Copy a layer norm."""
    set_(theirs.weight, ours["scale"])
    set_(theirs.bias, ours["bias"])


def load_layer(theirs: Any, ours: Mapping[str, Any]) -> None:
    """Copy a layer of the encoder or of the decoder."""
    attentions, norms = {"self_attn": "attention"}, ["attention_norm", "feed_forward_norm"]
    if "source_attention" in ours:
        attentions["multihead_attn"] = "source_attention"
        norms.insert(1, "source_norm")
    for name, own in attentions.items():
        parts = [ours[own][part] for part in ("query", "key", "value")]
        set_(getattr(theirs, name).in_proj_weight, np.concatenate([np.asarray(part["kernel"]).T for part in parts]))
        set_(getattr(theirs, name).in_proj_bias, np.concatenate([np.asarray(part["bias"]) for part in parts]))
        load_linear(getattr(theirs, name).out_proj, ours[own]["output"])
    for number, name in enumerate(norms, 1):
        load_norm(getattr(theirs, f"norm{number}"), ours[name])
    load_linear(theirs.linear1, ours["feed_forward"]["up"])
    load_linear(theirs.linear2, ours["feed_forward"]["down"])


def training_step(model: TorchTransformer, rate: float, smoothing: float, clip: float) -> Callable[..., None]:
    """Return an eager update: gradient, clipping by the norm, AdamW without decay."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.98), weight_decay=0.0)

    def step(*batch: Any) -> None:
        optimizer.zero_grad(set_to_none=True)
        model(*batch, smoothing).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()

    return step
