"""VGG (Simonyan and Zisserman 2015, arXiv:1409.1556): 3x3 convolutions and poolings.

B batch, H height, W width, C channels, F features, P and Q the rows and columns that are left after pooling.
"""

from functools import partial
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxlm.errors import BadInput
from jaxlm.nn.conv import Conv, max_pool, mean_pool
from jaxlm.nn.dropout import Dropout
from jaxlm.nn.image_norm import ImageNorm
from jaxlm.nn.linear import Dense
from jaxlm.nn.module import Module

GRID = 7  # rows and columns in front of the large classifier


class VGG(Module):
    """Classify images with a VGG network: [B, H, W, channels], normalised, to logits [B, classes] (table 1).

    The kernels start as in He et al. 2015, with which the deep ones train without a norm.

    Attributes:
        classes: number of classes.
        stages: channels of each 3x3 convolution, stage by stage; a 2x2 max-pooling ends each stage.
        norm: after each convolution, see `ImageNorm`; the paper has "none". The convolutions always have a bias, as the
            published weights do; with "batch" it has no effect.
        classifier: "large", the paper's two layers of `hidden` before the last one, on a grid of 7 x 7 (from images of
            224 x 224; other sizes are averaged to it), or "small", the mean over all pixels and the last layer.
        hidden: width of the layers of the large classifier.
        dropout: rate in training after each layer of `hidden`, or before the last layer of the small classifier.
        axis_name: see `ImageNorm`.
    """

    classes: int
    stages: tuple[tuple[int, ...], ...]
    norm: Literal["none", "batch", "group"] = "none"
    classifier: Literal["large", "small"] = "large"
    hidden: int = 4096
    dropout: float = 0.5
    axis_name: str | None = None

    hyperparameters = ("dropout",)

    @nn.compact
    def __call__(self, image_BHWC: jax.Array, *, train: bool = False) -> jax.Array:
        """Return the logits of each class.

        Raises:
            BadInput: images too small for the number of poolings.
        """
        least, (height, width) = 2 ** len(self.stages), image_BHWC.shape[1:3]
        if min(height, width) < least:
            raise BadInput(f"images of {height} x {width} are too small for VGG: take {least} x {least} or larger")
        x_BHWC = image_BHWC
        for stage, widths in enumerate(self.stages):
            for number, features in enumerate(widths):
                name = f"stage_{stage}_{{}}_{number}"
                x_BHWC = Conv(features, bias=True, name=name.format("conv"))(x_BHWC)
                if self.norm != "none":
                    x_BHWC = ImageNorm(self.norm, self.axis_name, name=name.format("norm"))(x_BHWC, train=train)
                x_BHWC = nn.relu(x_BHWC)
            x_BHWC = max_pool(x_BHWC, 2, 2)
        return Dense(self.classes, name="head")(self._features(x_BHWC, train))

    def _features(self, x_BHWC: jax.Array, train: bool) -> jax.Array:
        """Compute the input of the last layer, [B, F]."""
        drop = Dropout(self.dropout, deterministic=not train, name="drop")
        if self.classifier == "small":
            return drop(mean_pool(x_BHWC))
        x_BF = mean_pool_to(x_BHWC, GRID).reshape(x_BHWC.shape[0], -1)
        for number in (1, 2):
            layer = Dense(self.hidden, kernel_init=nn.initializers.he_normal(), name=f"hidden_{number}")
            x_BF = drop(nn.relu(layer(x_BF)))
        return x_BF


def mean_pool_to(x_BHWC: jax.Array, size: int) -> jax.Array:
    """Average over a grid of windows, [B, size, size, C], as PyTorch's AdaptiveAvgPool2d does; computed in float32.

    Windows overlap where `size` does not divide the input's size, and repeat where it is larger.
    """
    if x_BHWC.shape[1:3] == (size, size):
        return x_BHWC
    rows_PH, columns_QW = (_windows(length, size) for length in x_BHWC.shape[1:3])
    y_BPQC = jnp.einsum("ph,bhwc,qw->bpqc", rows_PH, x_BHWC.astype(jnp.float32), columns_QW)
    return y_BPQC.astype(x_BHWC.dtype)


def _windows(length: int, count: int) -> np.ndarray:
    """Return the weights with which `count` windows average over `length` pixels, [count, length]."""
    weights = np.zeros((count, length), np.float32)
    for window in range(count):
        start, end = window * length // count, -(-(window + 1) * length // count)
        weights[window, start:end] = 1 / (end - start)
    return weights


A = ((64,), (128,), (256, 256), (512, 512), (512, 512))
D = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))

vgg11 = partial(VGG, stages=A)
vgg16 = partial(VGG, stages=D)
