"""The small convolutional network that private learning of MNIST is measured with.

B batch, H height, W width, C channels, K kernel.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxlm.errors import BadInput
from jaxlm.nn.linear import Dense
from jaxlm.nn.module import Module


class TanhCNN(Module):
    """Classify small images without batch normalisation: [B, H, W, C], normalised, to logits [B, classes].

    Two convolutions of stride 2, each with tanh and a maximum over 2 x 2 pixels at stride 1, a hidden layer with tanh,
    and a last one: 26,010 parameters for 28 x 28 grey images. A bounded activation keeps gradients small, so that less
    of them is clipped (Papernot et al. 2020, arXiv:2007.14191, table 1).

    A convolution is a product of patches and a matrix: XLA's CPU backend computes the gradient of a kernel for single
    examples as a grouped convolution, which took four times as long (docs/design/privacy.md).

    Attributes:
        classes: number of classes.
        channels: of the two convolutions.
        hidden: width of the hidden layer.
        axis_name: not used; every image model has it, so that all are placed the same way.
    """

    classes: int
    channels: tuple[int, int] = (16, 32)
    hidden: int = 32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, image_BHWC: jax.Array, *, train: bool = False) -> jax.Array:
        """Return the logits of each class.

        Raises:
            BadInput: images too small for the two convolutions.
        """
        del train
        height, width = image_BHWC.shape[1:3]
        if min(height, width) < 14:
            raise BadInput(f"images of {height} x {width} are too small: TanhCNN takes 14 x 14 and larger ones")
        first, second = self.channels
        x_BHWC = jnp.tanh(Dense(first, name="conv_1")(_patches(image_BHWC, kernel=8, padding=3)))
        x_BHWC = jnp.tanh(Dense(second, name="conv_2")(_patches(_largest(x_BHWC), kernel=4, padding=0)))
        x_BHWC = _largest(x_BHWC)
        x_BF = x_BHWC.reshape(x_BHWC.shape[0], -1)
        x_BF = jnp.tanh(Dense(self.hidden, name="hidden")(x_BF))
        return Dense(self.classes, name="head")(x_BF)


def _patches(x_BHWC: jax.Array, kernel: int, padding: int) -> jax.Array:
    """Return the patches of a convolution of stride 2, [B, H', W', K K C]."""
    margin = (padding, padding)
    x_BHWC = jnp.pad(x_BHWC, ((0, 0), margin, margin, (0, 0)))
    rows, columns = ((size - kernel) // 2 * 2 + 1 for size in x_BHWC.shape[1:3])
    places = [(row, column) for row in range(kernel) for column in range(kernel)]
    return jnp.concatenate([x_BHWC[:, y : y + rows : 2, x : x + columns : 2] for y, x in places], -1)


def _largest(x_BHWC: jax.Array) -> jax.Array:
    """Return the maximum of every 2 x 2 pixels, at stride 1."""
    x_BHWC = jnp.maximum(x_BHWC[:, :-1], x_BHWC[:, 1:])
    return jnp.maximum(x_BHWC[:, :, :-1], x_BHWC[:, :, 1:])
