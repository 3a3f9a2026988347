"""A convolutional block over time, for text and for frames of sound alike.

B batch, T places in time, D width.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxlm.nn.dropout import Dropout
from jaxlm.nn.linear import Dense, broadcast
from jaxlm.nn.module import Module
from jaxlm.nn.norm import LayerNorm
from jaxlm.nn.speech import TimeConv


class TimeBlock(Module):
    """ConvNeXt over time: depthwise convolution, layer norm and two affine maps on a residual branch.

    Liu et al. 2022 (arXiv:2201.03545, figure 4), in one dimension as in Vocos (Siuzdak 2023, arXiv:2306.00814). What
    the block is conditioned on scales and shifts the normalised vectors, as in adaptive layer norm (Peebles & Xie 2023,
    arXiv:2212.09748), and does nothing at the beginning of training.

    Law: the output at places inside a row depends neither on its padding nor on other rows.

    Attributes:
        hidden: width between the two affine maps.
        kernel: places that the convolution sees, odd.
        dropout: rate on the branch.
    """

    hidden: int
    kernel: int = 7
    dropout: float = 0.0

    @nn.compact
    def __call__(
        self, x_BTD: jax.Array, inside_BT: jax.Array, condition_BD: jax.Array | None = None, *, train: bool = False
    ) -> jax.Array:
        """Apply the block, [B, T, D].

        Args:
            x_BTD: the input.
            inside_BT: bool, False on padding, which is 0 for the convolution.
            condition_BD: what the block is conditioned on, such as a speaker; None: nothing.
            train: apply dropout.
        """
        width = x_BTD.shape[-1]
        y_BTD = TimeConv(self.kernel, name="conv")(jnp.where(inside_BT[..., None], x_BTD, 0))
        y_BTD = LayerNorm(name="norm")(y_BTD)
        if condition_BD is not None:
            modulate = Dense(2 * width, kernel_init=nn.initializers.zeros, name="modulate")
            both_B1D = modulate(condition_BD)[:, None]
            scale_BTD, shift_BTD = jnp.split(broadcast(both_B1D, (*y_BTD.shape[:2], 2 * width)), 2, -1)
            y_BTD = y_BTD * (1 + scale_BTD) + shift_BTD
        y_BTD = jax.nn.gelu(Dense(self.hidden, name="up")(y_BTD))
        y_BTD = Dropout(self.dropout, deterministic=not train, name="drop")(y_BTD)
        return x_BTD + Dense(width, name="down")(y_BTD)
