"""Inception-v3 (Szegedy et al. 2016, arXiv:1512.00567), without its auxiliary classifier.

B batch, H height, W width, C channels.
"""

from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxlm.errors import BadInput
from jaxlm.nn.conv import Conv, max_pool, mean_pool
from jaxlm.nn.dropout import Dropout
from jaxlm.nn.image_norm import ImageNorm
from jaxlm.nn.linear import Dense, wide
from jaxlm.nn.module import Module

LEAST = 75  # the smallest height and width of which the poolings leave something
VALID = ((0, 0), (0, 0))

Unit = tuple[int, tuple[int, int]]  # channels in multiples of the model's width, kernel


class Inception(Module):
    """Classify images with Inception-v3: [B, H, W, channels], normalised, at least 75 x 75, to logits [B, classes].

    The paper has images of 299 x 299. The layers are those of torchvision's `inception_v3`, so the parameter counts
    agree: every convolution has batch normalisation with an epsilon of 0.001, and the averages within blocks count the
    padding. The auxiliary classifier of section 4 is left out: it is a regulariser, and a model here has one output.

    Attributes:
        classes: number of classes.
        width: every number of channels is a multiple of it; 16 in the paper.
        grid_35: for each block at 35 x 35, the channels of the pooled branch, in multiples of `width`.
        grid_17: for each block at 17 x 17, the channels within the factored branches (figure 6), in multiples of
            `width`.
        grid_8: number of blocks at 8 x 8 (figure 7).
        norm: see `ImageNorm`.
        dropout: rate before the last layer in training; it needs an rng named "dropout".
        axis_name: see `ImageNorm`.
    """

    classes: int
    width: int = 16
    grid_35: tuple[int, ...] = (2, 4, 4)
    grid_17: tuple[int, ...] = (8, 10, 10, 12)
    grid_8: int = 2
    norm: Literal["batch", "group"] = "batch"
    dropout: float = 0.5
    axis_name: str | None = None

    hyperparameters = ("dropout",)

    @nn.compact
    def __call__(self, image_BHWC: jax.Array, *, train: bool = False) -> jax.Array:
        """Return the logits of each class.

        Raises:
            BadInput: images too small for the strides.
        """
        height, width = image_BHWC.shape[1:3]
        if min(height, width) < LEAST:
            raise BadInput(
                f"images of {height} x {width} are too small for Inception: take {LEAST} x {LEAST} or larger"
            )
        x_BHWC = self._unit(image_BHWC, "stem_1", 2, (3, 3), train, stride=2, valid=True)
        x_BHWC = self._unit(x_BHWC, "stem_2", 2, (3, 3), train, valid=True)
        x_BHWC = max_pool(self._unit(x_BHWC, "stem_3", 4, (3, 3), train), 3, 2)
        x_BHWC = self._unit(x_BHWC, "stem_4", 5, (1, 1), train)
        x_BHWC = max_pool(self._unit(x_BHWC, "stem_5", 12, (3, 3), train, valid=True), 3, 2)
        for number, pooled in enumerate(self.grid_35):
            x_BHWC = self._block_35(x_BHWC, f"grid_35_{number}", pooled, train)
        x_BHWC = self._shrink_35(x_BHWC, "shrink_35", train)
        for number, inner in enumerate(self.grid_17):
            x_BHWC = self._block_17(x_BHWC, f"grid_17_{number}", inner, train)
        x_BHWC = self._shrink_17(x_BHWC, "shrink_17", train)
        for number in range(self.grid_8):
            x_BHWC = self._block_8(x_BHWC, f"grid_8_{number}", train)
        x_BC = Dropout(self.dropout, deterministic=not train)(mean_pool(x_BHWC))
        return Dense(self.classes, name="head")(x_BC)

    def _unit(
        self,
        x_BHWC: jax.Array,
        name: str,
        multiple: int,
        kernel: tuple[int, int],
        train: bool,
        stride: int = 1,
        valid: bool = False,
    ) -> jax.Array:
        """Apply convolution, norm and ReLU; `valid` leaves out the padding that keeps the size at stride 1."""
        padding = VALID if valid else None
        x_BHWC = Conv(multiple * self.width, kernel, stride, padding, name=f"{name}_conv")(x_BHWC)
        return nn.relu(ImageNorm(self.norm, self.axis_name, eps=1e-3, name=f"{name}_norm")(x_BHWC, train=train))

    def _branch(self, x_BHWC: jax.Array, name: str, train: bool, *units: Unit, shrink: bool = False) -> jax.Array:
        """Apply units one after the other; with `shrink` the last one halves the size."""
        for number, (multiple, kernel) in enumerate(units, 1):
            last = shrink and number == len(units)
            stride = 2 if last else 1
            x_BHWC = self._unit(x_BHWC, f"{name}_{number}", multiple, kernel, train, stride, last)
        return x_BHWC

    def _block_35(self, x_BHWC: jax.Array, name: str, pooled: int, train: bool) -> jax.Array:
        """Apply the block of figure 5, with a 5x5 in place of the single 3x3, as the published weights have it."""
        return _join(
            self._branch(x_BHWC, f"{name}_1x1", train, (4, (1, 1))),
            self._branch(x_BHWC, f"{name}_5x5", train, (3, (1, 1)), (4, (5, 5))),
            self._branch(x_BHWC, f"{name}_3x3", train, (4, (1, 1)), (6, (3, 3)), (6, (3, 3))),
            self._branch(_mean_of_nine(x_BHWC), f"{name}_pool", train, (pooled, (1, 1))),
        )

    def _shrink_35(self, x_BHWC: jax.Array, name: str, train: bool) -> jax.Array:
        """Halve the size as in figure 10: convolutions and a pooling in parallel."""
        return _join(
            self._branch(x_BHWC, f"{name}_one", train, (24, (3, 3)), shrink=True),
            self._branch(x_BHWC, f"{name}_two", train, (4, (1, 1)), (6, (3, 3)), (6, (3, 3)), shrink=True),
            max_pool(x_BHWC, 3, 2),
        )

    def _block_17(self, x_BHWC: jax.Array, name: str, inner: int, train: bool) -> jax.Array:
        """Apply the block of figure 6: 7x7 convolutions factored into 1x7 and 7x1."""
        point, row, column = (inner, (1, 1)), (inner, (1, 7)), (inner, (7, 1))
        return _join(
            self._branch(x_BHWC, f"{name}_1x1", train, (12, (1, 1))),
            self._branch(x_BHWC, f"{name}_7x7", train, point, row, (12, (7, 1))),
            self._branch(x_BHWC, f"{name}_7x7_twice", train, point, column, row, column, (12, (1, 7))),
            self._branch(_mean_of_nine(x_BHWC), f"{name}_pool", train, (12, (1, 1))),
        )

    def _shrink_17(self, x_BHWC: jax.Array, name: str, train: bool) -> jax.Array:
        """Halve the size as `_shrink_35` does, with a factored 7x7 before the second 3x3."""
        wide = ((12, (1, 1)), (12, (1, 7)), (12, (7, 1)), (12, (3, 3)))
        return _join(
            self._branch(x_BHWC, f"{name}_3x3", train, (12, (1, 1)), (20, (3, 3)), shrink=True),
            self._branch(x_BHWC, f"{name}_7x7", train, *wide, shrink=True),
            max_pool(x_BHWC, 3, 2),
        )

    def _block_8(self, x_BHWC: jax.Array, name: str, train: bool) -> jax.Array:
        """Apply the block of figure 7: two branches end in a 1x3 and a 3x1 in parallel."""
        one = self._branch(x_BHWC, f"{name}_one", train, (24, (1, 1)))
        two = self._branch(x_BHWC, f"{name}_two", train, (28, (1, 1)), (24, (3, 3)))
        return _join(
            self._branch(x_BHWC, f"{name}_1x1", train, (20, (1, 1))),
            self._unit(one, f"{name}_one_row", 24, (1, 3), train),
            self._unit(one, f"{name}_one_column", 24, (3, 1), train),
            self._unit(two, f"{name}_two_row", 24, (1, 3), train),
            self._unit(two, f"{name}_two_column", 24, (3, 1), train),
            self._branch(_mean_of_nine(x_BHWC), f"{name}_pool", train, (12, (1, 1))),
        )


def _mean_of_nine(x_BHWC: jax.Array) -> jax.Array:
    """Average each 3x3 window, with zeros around the image, in float32."""
    return nn.avg_pool(wide(x_BHWC), (3, 3), padding=((1, 1), (1, 1))).astype(x_BHWC.dtype)


def _join(*branches_BHWC: jax.Array) -> jax.Array:
    return jnp.concatenate(branches_BHWC, axis=-1)
