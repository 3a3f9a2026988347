"""FCOS: boxes from every place of a pyramid of features, without anchors (Tian et al. 2019, arXiv:1904.01355).

B batch, H height, W width, C channels, P places of all levels, K classes. A box is (left, top, right, bottom).
"""

import math
from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxlm.errors import BadInput
from jaxlm.models.resnet import residual_stages
from jaxlm.models.unet import doubled
from jaxlm.nn.conv import Conv
from jaxlm.nn.image_norm import ImageNorm
from jaxlm.nn.linear import broadcast, wide
from jaxlm.nn.module import Module

PRIOR = 0.01  # of a class at a place, at the beginning


class Places(NamedTuple):
    """What a detector says of each place.

    Attributes:
        logits_BPK: of each class, for a sigmoid; float32.
        distances_BP4: from the place to the left, top, right and bottom of its box, in pixels, above 0; float32.
        centre_BP: logit of how central the place is in its box; float32.
        at_P2: x and y of the places, in pixels; float32.
        strides_P: pixels between the places of a level; float32.
    """

    logits_BPK: jax.Array
    distances_BP4: jax.Array
    centre_BP: jax.Array
    at_P2: jax.Array
    strides_P: jax.Array


class FCOS(Module):
    """Detect objects: images [B, H, W, 3], normalised, to `Places`.

    The backbone has residual blocks; its last three stages, at strides 8, 16 and 32, are levels of a feature pyramid
    (Lin et al. 2017, arXiv:1612.03144), which one head reads. Norms are of groups of channels, so an image's answer
    does not depend on its batch.

    Attributes:
        classes: K.
        widths: channels of the stages of the backbone, at strides 4, 8, 16 and 32.
        blocks: residual blocks in each stage.
        width: channels of the pyramid and the head.
        depth: convolutions of the head before its last one.
    """

    classes: int
    widths: tuple[int, ...] = (32, 64, 96, 128)
    blocks: int = 1
    width: int = 64
    depth: int = 2

    @nn.compact
    def __call__(self, image_BHWC: jax.Array, *, train: bool = False) -> Places:
        """Return what is said of each place."""
        self.validate()
        levels = self._pyramid(residual_stages(image_BHWC, self.widths, self.blocks, train)[1:])
        shared = {name: self._tower(name) for name in ("classes", "boxes")}
        last = partial(Conv, bias=True, kernel_init=nn.initializers.normal(0.01))
        to_classes, to_boxes = last(self.classes, name="to_classes"), last(4, name="to_boxes")
        to_centre = last(1, name="to_centre")
        found = []
        for level, x_BHWC in enumerate(levels):
            stride, (batch, high, across) = 2.0 ** (level + 3), x_BHWC.shape[:3]
            of_classes, of_boxes = (shared[name](x_BHWC) for name in ("classes", "boxes"))
            scale = self.param(f"scale_{level}", nn.initializers.ones, (1,), jnp.float32)
            logits = wide(to_classes(of_classes)) - math.log((1 - PRIOR) / PRIOR)
            sizes = wide(to_boxes(of_boxes))
            sizes = stride * jnp.exp(jnp.clip(sizes * broadcast(wide(scale)[None, None, None], sizes.shape), -6, 6))
            y, x = jnp.meshgrid(jnp.arange(high) + 0.5, jnp.arange(across) + 0.5, indexing="ij")
            at = stride * jnp.stack([x, y], -1).reshape(-1, 2)
            parts = (part.reshape(batch, high * across, -1) for part in (logits, sizes, wide(to_centre(of_boxes))))
            found.append((*parts, at, jnp.full(len(at), stride)))
        logits, sizes, centre = (jnp.concatenate([level[n] for level in found], 1) for n in range(3))
        at, strides = (jnp.concatenate([level[n] for level in found]) for n in (3, 4))
        return Places(logits, sizes, centre[..., 0], at, strides)

    def _pyramid(self, features: list[jax.Array]) -> list[jax.Array]:
        """Add to each level what the coarser ones know, and return the levels, fine ones first."""
        levels: list[jax.Array] = []
        for level, x_BHWC in reversed([*enumerate(features)]):
            y_BHWC = Conv(self.width, (1, 1), bias=True, name=f"lateral_{level}")(x_BHWC)
            if levels:
                y_BHWC = y_BHWC + doubled(levels[0])[:, : y_BHWC.shape[1], : y_BHWC.shape[2]]
            levels.insert(0, y_BHWC)
        return [Conv(self.width, bias=True, name=f"smooth_{n}")(x_BHWC) for n, x_BHWC in enumerate(levels)]

    def _tower(self, name: str) -> "Tower":
        return Tower(self.width, self.depth, name=f"tower_of_{name}")

    def validate(self) -> None:
        """Check the fields.

        Raises:
            BadInput: one line that names the field and how to fix it.
        """
        super().validate()
        if len(self.widths) != 4:
            raise BadInput(f"model.widths is {self.widths}: give four, for strides 4, 8, 16 and 32")


class Tower(Module):
    """Convolutions, each with a norm and a ReLU, that all levels share.

    Attributes:
        width: channels.
        depth: convolutions.
    """

    width: int
    depth: int

    @nn.compact
    def __call__(self, x_BHWC: jax.Array) -> jax.Array:
        """Return the features, [B, H, W, width]."""
        for number in range(self.depth):
            x_BHWC = Conv(self.width, name=f"conv_{number}")(x_BHWC)
            x_BHWC = nn.relu(ImageNorm("group", name=f"norm_{number}")(x_BHWC))
        return x_BHWC
