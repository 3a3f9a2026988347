"""Residual networks (He et al. 2016, arXiv:1512.03385) for photographs and for small images.

B batch, H height, W width, C channels.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxlm.errors import BadInput
from jaxlm.nn.conv import Conv, max_pool, mean_pool
from jaxlm.nn.image_norm import ImageNorm
from jaxlm.nn.linear import Dense
from jaxlm.nn.module import Module


class ResNet(Module):
    """Classify images with a residual network: [B, H, W, channels], normalised, to logits [B, classes].

    Attributes:
        classes: number of classes.
        stages: blocks in each stage; every stage but the first halves height and width and doubles the channels.
        block: "basic", two 3x3 convolutions, or "bottleneck", 1x1, 3x3 and 1x1 to four times the width, with the stride
            in the 3x3 (version 1.5).
        width: channels of the first stage.
        stem: "photo", 7x7 at stride 2 and a pooling, or "small", one 3x3 for images like CIFAR's.
        shortcut: where the shape changes: "projection", a 1x1 convolution (option B), or "pad", the strided input with
            zero channels on both sides (option A, section 3.3).
        norm: see `ImageNorm`.
        zero_residual: start the last scale of each block at zero, so that a block starts as the identity (Goyal et al.
            2017, arXiv:1706.02677, section 5.1).
        axis_name: see `ImageNorm`.
    """

    classes: int
    stages: tuple[int, ...]
    block: Literal["basic", "bottleneck"] = "basic"
    width: int = 64
    stem: Literal["photo", "small"] = "photo"
    shortcut: Literal["projection", "pad"] = "projection"
    norm: Literal["batch", "group"] = "batch"
    zero_residual: bool = True
    axis_name: str | None = None

    @nn.compact
    def __call__(self, image_BHWC: jax.Array, *, train: bool = False) -> jax.Array:
        """Return the logits of each class."""
        self.validate()
        norm = partial(ImageNorm, self.norm, self.axis_name)
        kernel, stride = ((7, 7), 2) if self.stem == "photo" else ((3, 3), 1)
        x_BHWC = Conv(self.width, kernel, stride, name="stem")(image_BHWC)
        x_BHWC = nn.relu(norm(name="stem_norm")(x_BHWC, train=train))
        if self.stem == "photo":
            x_BHWC = max_pool(x_BHWC, 3, 2, padding=1)
        kind = Basic if self.block == "basic" else Bottleneck
        block = partial(kind, shortcut=self.shortcut, norm=norm, zero_residual=self.zero_residual)
        for stage, depth in enumerate(self.stages):
            for number in range(depth):
                stride = 2 if stage and not number else 1
                name = f"stage_{stage}_block_{number}"
                x_BHWC = block(self.width * 2**stage, stride, name=name)(x_BHWC, train=train)
        return Dense(self.classes, name="head")(mean_pool(x_BHWC))

    def validate(self) -> None:
        """Check the fields.

        Raises:
            BadInput: one line that names the field and how to fix it.
        """
        super().validate()
        if not self.stages:
            raise BadInput("model.stages is empty: give the number of blocks of at least 1 stage")


class Basic(Module):
    """A basic residual block: two 3x3 convolutions and a shortcut (figure 5, left)."""

    width: int
    stride: int
    shortcut: str
    norm: Any
    zero_residual: bool

    @nn.compact
    def __call__(self, x_BHWC: jax.Array, *, train: bool) -> jax.Array:
        """Apply the block."""
        y_BHWC = Conv(self.width, stride=self.stride, name="conv_1")(x_BHWC)
        y_BHWC = nn.relu(self.norm(name="norm_1")(y_BHWC, train=train))
        y_BHWC = Conv(self.width, name="conv_2")(y_BHWC)
        y_BHWC = self.norm(zero=self.zero_residual, name="norm_2")(y_BHWC, train=train)
        return nn.relu(y_BHWC + around(self, x_BHWC, self.width, train))


class Bottleneck(Module):
    """A bottleneck residual block: a 3x3 convolution between two 1x1 ones and a shortcut (figure 5, right)."""

    width: int
    stride: int
    shortcut: str
    norm: Any
    zero_residual: bool

    @nn.compact
    def __call__(self, x_BHWC: jax.Array, *, train: bool) -> jax.Array:
        """Apply the block."""
        y_BHWC = Conv(self.width, (1, 1), name="conv_1")(x_BHWC)
        y_BHWC = nn.relu(self.norm(name="norm_1")(y_BHWC, train=train))
        y_BHWC = Conv(self.width, stride=self.stride, name="conv_2")(y_BHWC)
        y_BHWC = nn.relu(self.norm(name="norm_2")(y_BHWC, train=train))
        y_BHWC = Conv(4 * self.width, (1, 1), name="conv_3")(y_BHWC)
        y_BHWC = self.norm(zero=self.zero_residual, name="norm_3")(y_BHWC, train=train)
        return nn.relu(y_BHWC + around(self, x_BHWC, 4 * self.width, train))


def around(block: Basic | Bottleneck, x_BHWC: jax.Array, features: int, train: bool) -> jax.Array:
    """Return the shortcut of a block: its input in the shape of its output."""
    surplus = features - x_BHWC.shape[-1]
    if block.stride == 1 and not surplus:
        return x_BHWC
    if block.shortcut == "projection":
        x_BHWC = Conv(features, (1, 1), block.stride, name="shortcut")(x_BHWC)
        return block.norm(name="shortcut_norm")(x_BHWC, train=train)
    x_BHWC = x_BHWC[:, :: block.stride, :: block.stride]
    return jnp.pad(x_BHWC, ((0, 0), (0, 0), (0, 0), (surplus // 2, surplus - surplus // 2)))


def residual_stages(image_BHWC: jax.Array, widths: Sequence[int], blocks: int, train: bool) -> list[jax.Array]:
    """Return the features of each stage of a backbone, at strides 4, 8, 16, ...; for use inside a compact method.

    Norms are of groups of channels, so the features of an image do not depend on its batch. The layers are those of the
    module that calls this.

    Args:
        image_BHWC: normalised.
        widths: channels of each stage.
        blocks: residual blocks in each stage.
        train: passed on to the blocks.
    """
    norm = partial(ImageNorm, "group", None)
    x_BHWC = nn.relu(norm(name="stem_norm")(Conv(widths[0], stride=2, name="stem")(image_BHWC)))
    block, found = partial(Basic, shortcut="projection", norm=norm, zero_residual=True), []
    for stage, features in enumerate(widths):
        for number in range(blocks):
            x_BHWC = block(features, 1 if number else 2, name=f"stage_{stage}_block_{number}")(x_BHWC, train=train)
        found.append(x_BHWC)
    return found


resnet18 = partial(ResNet, stages=(2, 2, 2, 2))
resnet34 = partial(ResNet, stages=(3, 4, 6, 3))
resnet50 = partial(ResNet, stages=(3, 4, 6, 3), block="bottleneck")
resnet101 = partial(ResNet, stages=(3, 4, 23, 3), block="bottleneck")
cifar_resnet20 = partial(ResNet, stages=(3, 3, 3), width=16, stem="small", shortcut="pad")
cifar_resnet56 = partial(ResNet, stages=(9, 9, 9), width=16, stem="small", shortcut="pad")
