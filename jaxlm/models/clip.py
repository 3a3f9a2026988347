"""Images and captions as vectors of one space.

B batch, H height, W width, C channels, L tokens of a caption, D width of a vector.
"""

import math
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxlm.models.bert import BERT
from jaxlm.models.vq_vae import ImageEncoder, unit
from jaxlm.nn.condition import CaptionVector
from jaxlm.nn.linear import Dense, wide
from jaxlm.nn.module import Module


class PairVectors(NamedTuple):
    """Vectors of length 1 of images and of their captions, and how a dot product becomes a logit.

    Attributes:
        image: float32 [B, D].
        caption: float32 [B, D].
        scale: float32 scalar; the logit of an image and a caption is scale * dot product + bias.
        bias: float32 scalar.
    """

    image: jax.Array
    caption: jax.Array
    scale: jax.Array
    bias: jax.Array


class CLIP(Module):
    """Map images and captions to vectors, near to each other where they fit (Radford et al. 2021, arXiv:2103.00020).

    Law: the vector of an image or a caption depends on that image or caption alone.

    Attributes:
        encoder: reads captions.
        widths: channels of each stage of convolutions; each halves height and width.
        width: D.
    """

    encoder: BERT
    widths: tuple[int, ...] = (32, 64, 64)
    width: int = 64

    @property
    def multiple(self) -> int:
        """What height and width of an image must be multiples of."""
        return 2 ** len(self.widths)

    def setup(self) -> None:
        """Create the layers."""
        self.validate()
        self.convolutions, self.pooled = ImageEncoder(self.widths, self.widths[-1]), Dense(self.width)
        self.words = CaptionVector(self.width)
        self.log_scale = self.param("log_scale", nn.initializers.constant(math.log(10)), (), jnp.float32)
        self.bias = self.param("bias", nn.initializers.constant(-10.0), (), jnp.float32)

    def image(self, image_BHWC: jax.Array) -> jax.Array:
        """Return the vectors of images, float32 [B, D]."""
        x_BHWC = jax.nn.silu(self.convolutions(image_BHWC.astype(self.log_scale.dtype)))
        x_BF = jnp.concatenate([wide(x_BHWC).mean((1, 2)), wide(x_BHWC).max((1, 2))], 1)
        return unit(wide(self.pooled(x_BF.astype(x_BHWC.dtype))))

    def caption(self, tokens_BL: jax.Array, segments_BL: jax.Array, *, train: bool = False) -> jax.Array:
        """Return the vectors of captions, float32 [B, D]."""
        x_BLE = self.encoder.encode(tokens_BL, segments=segments_BL, train=train)
        return unit(wide(self.words(x_BLE, segments_BL)))

    def __call__(
        self, image_BHWC: jax.Array, tokens_BL: jax.Array, segments_BL: jax.Array, *, train: bool = False
    ) -> PairVectors:
        """Return the vectors of images and their captions; needs an rng "dropout" where the encoder has some."""
        caption_BD = self.caption(tokens_BL, segments_BL, train=train)
        return PairVectors(self.image(image_BHWC), caption_BD, jnp.exp(wide(self.log_scale)), wide(self.bias))
