"""A multi-layer perceptron on images, the baseline without any notion of neighbouring pixels.

B batch, H height, W width, C channels, F features.
"""

import flax.linen as nn
import jax

from jaxlm.nn.dropout import Dropout
from jaxlm.nn.linear import Dense
from jaxlm.nn.module import Module


class MLP(Module):
    """Classify images with a multi-layer perceptron: [B, H, W, C], normalised and of one size, to logits [B, classes].

    The hidden kernels are drawn from N(0, 2 / fan_in), truncated (He et al. 2015, arXiv:1502.01852, equation 10).

    Attributes:
        classes: number of classes.
        hidden: width of each hidden layer; a layer is affine, a ReLU, and dropout.
        dropout: rate in training; it needs an rng named "dropout".
        axis_name: not used; every image model has it, so that all are placed the same way.
    """

    classes: int
    hidden: tuple[int, ...] = (64, 64)
    dropout: float = 0.0
    axis_name: str | None = None

    hyperparameters = ("dropout",)

    @nn.compact
    def __call__(self, image_BHWC: jax.Array, *, train: bool = False) -> jax.Array:
        """Return the logits of each class."""
        x_BF = image_BHWC.reshape(image_BHWC.shape[0], -1)
        for number, width in enumerate(self.hidden):
            layer = Dense(width, kernel_init=nn.initializers.he_normal(), name=f"hidden_{number}")
            x_BF = Dropout(self.dropout, deterministic=not train)(nn.relu(layer(x_BF)))
        return Dense(self.classes, name="head")(x_BF)
