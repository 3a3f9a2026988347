"""The Conformer (Gulati et al. 2020, arXiv:2005.08100): self-attention and convolution over the frames of speech.

B batch, T frames, D width.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxlm.errors import BadInput
from jaxlm.nn.attention import Attention
from jaxlm.nn.dropout import Dropout
from jaxlm.nn.linear import Dense
from jaxlm.nn.module import Module
from jaxlm.nn.norm import LayerNorm
from jaxlm.nn.position import Rotation, rotary_angles
from jaxlm.nn.speech import TimeConv, within

ROTARY_BASE = 10000.0


class ConformerBlock(Module):
    """Half a feed-forward network, self-attention, a convolution, and the other half (the paper's figure 1).

    Two things differ from the paper, so that a row's outputs depend on the row alone and its code is short: layer
    normalisation in the convolution instead of batch normalisation, and rotary positions (Su et al. 2021) instead of
    those of Transformer-XL.

    Attributes:
        heads: attention heads.
        hidden: width of the feed-forward networks.
        kernel: frames of the convolution, odd.
        depth: blocks of the model, for the initialisation of the attention.
        dropout: rate on the output of each branch.
    """

    heads: int
    hidden: int
    kernel: int
    depth: int
    dropout: float

    @nn.compact
    def __call__(self, x_BTD: jax.Array, inside_BT: jax.Array, rotation: Rotation, train: bool) -> jax.Array:
        """Apply the block; frames that are not inside are padding."""
        width = x_BTD.shape[-1]

        def drop(y_BTD: jax.Array, name: str) -> jax.Array:
            return Dropout(self.dropout, deterministic=not train, name=name)(y_BTD)

        def feed_forward(name: str) -> jax.Array:
            h_BTF = jax.nn.silu(Dense(self.hidden, name=f"{name}_up")(LayerNorm(name=f"{name}_norm")(x_BTD)))
            return drop(Dense(width, name=f"{name}_down")(drop(h_BTF, f"{name}_drop_up")), f"{name}_drop_down")

        x_BTD = x_BTD + 0.5 * feed_forward("first")
        attention = Attention(self.heads, self.heads, self.depth, causal=False, name="attention")
        y_BTD, _ = attention(
            LayerNorm(name="attention_norm")(x_BTD), mask_B1TS=inside_BT[:, None, None, :], rotation=rotation
        )
        x_BTD = x_BTD + drop(y_BTD, "attention_drop")
        y_BTD = nn.glu(Dense(2 * width, name="conv_in")(LayerNorm(name="conv_norm")(x_BTD)))
        y_BTD = TimeConv(self.kernel, name="conv")(jnp.where(inside_BT[..., None], y_BTD, 0))
        y_BTD = Dense(width, name="conv_out")(jax.nn.silu(LayerNorm(name="conv_middle_norm")(y_BTD)))
        x_BTD = x_BTD + drop(y_BTD, "conv_drop")
        x_BTD = x_BTD + 0.5 * feed_forward("second")
        return LayerNorm(name="norm")(x_BTD)


class Conformer(Module):
    """A stack of Conformer blocks.

    Attributes:
        depth: blocks.
        width: D.
        heads: attention heads; width is a multiple of it, and the width of a head is even.
        hidden: width of the feed-forward networks; None: 4 * width.
        kernel: frames of the convolutions, odd.
        dropout: rate.
        remat: recompute each block in the backward pass, for less memory.
    """

    depth: int = 16
    width: int = 144
    heads: int = 4
    hidden: int | None = None
    kernel: int = 31
    dropout: float = 0.1
    remat: bool = False

    hyperparameters = ("dropout",)

    @nn.compact
    def __call__(self, x_BTD: jax.Array, lengths_B: jax.Array, *, train: bool = False) -> jax.Array:
        """Encode vectors of frames, [B, T, D]; `lengths_B` int32 are the frames that are not padding."""
        inside_BT = within(lengths_B, x_BTD.shape[1])
        positions_1T = jnp.arange(x_BTD.shape[1], dtype=jnp.int32)[None]
        rotation = rotary_angles(positions_1T, self.width // self.heads, ROTARY_BASE)
        x_BTD = Dropout(self.dropout, deterministic=not train, name="drop")(x_BTD)
        block = nn.remat(ConformerBlock, static_argnums=(4,)) if self.remat else ConformerBlock
        for number in range(self.depth):
            layer = block(
                self.heads, self.hidden or 4 * self.width, self.kernel, self.depth, self.dropout, name=f"block_{number}"
            )
            x_BTD = layer(x_BTD, inside_BT, rotation, train)
        return x_BTD

    def validate(self) -> None:
        """Check the fields against each other.

        Raises:
            BadInput: one line that names the field and how to fix it.
        """
        super().validate()
        if self.width % (2 * self.heads):
            raise BadInput(f"model.width is {self.width}: it must be a multiple of twice the heads, {self.heads}")
        if self.kernel % 2 == 0:
            raise BadInput(f"model.kernel is {self.kernel}: it must be odd")


# The shapes of the paper's table 1, without a decoder.
CONFORMER_SMALL = Conformer(depth=16, width=144, heads=4)
CONFORMER_MEDIUM = Conformer(depth=16, width=256, heads=4)
CONFORMER_LARGE = Conformer(depth=17, width=512, heads=8)
