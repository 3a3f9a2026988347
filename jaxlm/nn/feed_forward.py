"""The position-wise network of a transformer block.

B batch, T tokens, D width, F hidden width.
"""

from typing import Literal

import flax.linen as nn
import jax

from jaxlm.nn.linear import dense, residual_std
from jaxlm.nn.module import Module

Pointwise = Literal["gelu", "gelu_exact", "relu"]
Activation = Literal[Pointwise, "swiglu"]


class FeedForward(Module):
    """Two affine maps with a non-linearity between them.

    "gelu": down(gelu(up(x))) with the tanh form of Hendrycks & Gimpel 2016, section 2, as GPT-2 has it;
    "gelu_exact": the same with x times the normal distribution function, as BERT and many a ViT have it;
    "relu": down(max(0, up(x))), Vaswani et al. 2017, equation 2;
    "swiglu": down(silu(gate(x)) * up(x)), Shazeer 2020, equation 6.

    Takes x [B, T, D] and returns the same shape and dtype. `depth` is the model's number of layers (initialisation).
    """

    hidden: int
    depth: int
    activation: Activation = "gelu"
    bias: bool = True

    @nn.compact
    def __call__(self, x_BTD: jax.Array) -> jax.Array:
        """Apply the network."""
        up_BTF = dense(self.hidden, bias=self.bias, name="up")(x_BTD)
        if self.activation == "swiglu":
            h_BTF = jax.nn.silu(dense(self.hidden, bias=self.bias, name="gate")(x_BTD)) * up_BTF
        else:
            h_BTF = activate(up_BTF, self.activation)
        return dense(x_BTD.shape[-1], bias=self.bias, std=residual_std(self.depth), name="down")(h_BTF)


def activate(x: jax.Array, activation: Pointwise) -> jax.Array:
    """The non-linearity that `FeedForward` has by that name, element by element."""
    return jax.nn.relu(x) if activation == "relu" else jax.nn.gelu(x, approximate=activation == "gelu")
