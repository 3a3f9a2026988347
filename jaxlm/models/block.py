"""One layer of a decoder-only transformer.

B batch, T tokens, S cache slots, D width.
"""

from typing import Literal

import flax.linen as nn
import jax

from jaxlm.nn.attention import Attention, Cache
from jaxlm.nn.dropout import Dropout
from jaxlm.nn.feed_forward import Activation, FeedForward
from jaxlm.nn.module import Module
from jaxlm.nn.norm import make_norm
from jaxlm.nn.position import Rotation

AttentionBias = Literal["none", "qkv", "all"]


class Block(Module):
    """One transformer layer: x + attention(norm(x)), then x + feed_forward(norm(x)) (Radford et al. 2019, section 2.3).

    Without `pre_norm`: norm(x + attention(x)), then norm(x + feed_forward(x)) (Vaswani et al. 2017, section 3.1).
    """

    heads: int
    kv_heads: int
    head_width: int
    hidden: int
    depth: int
    norm: Literal["layer", "rms"]
    pre_norm: bool
    activation: Activation
    dropout: float
    bias: bool
    attention_bias: AttentionBias
    eps: float
    train: bool

    @nn.compact
    def __call__(
        self,
        carry: tuple[jax.Array, Cache | None],
        layer: int | jax.Array,
        mask_B1TS: jax.Array | None,
        angles: Rotation | None,
    ) -> tuple[tuple[jax.Array, Cache | None], None]:
        """Apply layer number `layer` to the carry (x [B, T, D], cache), in the form that a scan over layers takes."""
        x_BTD, cache = carry
        drop = Dropout(self.dropout, deterministic=not self.train, name="drop")
        attention = Attention(
            self.heads,
            self.kv_heads,
            self.depth,
            bias=self.attention_bias == "all",
            qkv_bias=self.attention_bias != "none",
            head_width=self.head_width,
            name="attention",
        )
        feed_forward = FeedForward(self.hidden, self.depth, self.activation, self.bias, name="feed_forward")

        attention_norm = make_norm(self.norm, eps=self.eps, bias=self.bias, name="attention_norm")
        feed_forward_norm = make_norm(self.norm, eps=self.eps, bias=self.bias, name="feed_forward_norm")

        h_BTD = attention_norm(x_BTD) if self.pre_norm else x_BTD
        h_BTD, cache = attention(h_BTD, mask_B1TS=mask_B1TS, rotation=angles, cache=cache, layer=layer)
        x_BTD = x_BTD + drop(h_BTD)
        x_BTD = x_BTD if self.pre_norm else attention_norm(x_BTD)
        h_BTD = feed_forward_norm(x_BTD) if self.pre_norm else x_BTD
        x_BTD = x_BTD + drop(feed_forward(h_BTD))
        x_BTD = x_BTD if self.pre_norm else feed_forward_norm(x_BTD)
        return (x_BTD, cache), None
