"""The position-wise feed-forward network (MLP) of a transformer block.

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
    """Two affine maps with a non-linearity between them; [B, T, D] to the same shape and dtype.

    The activations:

        "gelu"        down(gelu(up(x))) with the tanh approximation (Hendrycks & Gimpel 2016, section 2), as in GPT-2
        "gelu_exact"  the same with the exact normal distribution function, as in BERT and many ViTs
        "relu"        down(max(0, up(x))) (Vaswani et al. 2017, equation 2)
        "swiglu"      down(silu(gate(x)) * up(x)) (Shazeer 2020, equation 6)

    Attributes:
        hidden: hidden width F.
        depth: number of layers of the model, for the initialisation of the output kernel.
        activation: one of the above.
        bias: add biases.
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
    """Apply the pointwise non-linearity of `FeedForward` by its name."""
    return jax.nn.relu(x) if activation == "relu" else jax.nn.gelu(x, approximate=activation == "gelu")
