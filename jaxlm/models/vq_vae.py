"""An autoencoder of images with discrete codes.

B batch, H height, W width, C channels, N codes of an image, K codes of the book, E width of a code.
"""

from typing import ClassVar, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxlm.errors import BadInput
from jaxlm.models.unet import doubled
from jaxlm.nn.conv import Conv
from jaxlm.nn.image_norm import ImageNorm
from jaxlm.nn.linear import Dense, wide
from jaxlm.nn.module import Module

EPS = 1e-6


class Quantised(NamedTuple):
    """What an autoencoder makes of images.

    Attributes:
        image: the images again, [B, H, W, C].
        vectors: what the encoder found, of length 1, float32 [B, N, E].
        nearest: the vector of the book that is nearest to each, of length 1, float32 [B, N, E].
        codes: their numbers, int32 [B, N].
    """

    image: jax.Array
    vectors: jax.Array
    nearest: jax.Array
    codes: jax.Array


class VQVAE(Module):
    """Vector-quantised autoencoder: an image becomes a grid of codes, and the codes an image.

    van den Oord et al. 2017, arXiv:1711.00937. Vectors are short and of length 1, in the encoder and in the book, so
    that most of the book is used (Yu et al. 2022, arXiv:2110.04627, section 3.2). The gradient passes from the vector
    of the book straight to that of the encoder.

    Laws: the codes of an image depend on that image alone; `picture(codes(x))` is what `__call__` makes of x.

    Attributes:
        shape: (H, W, C) of an image.
        widths: channels of each stage; each halves height and width.
        book: K.
        code_width: E.
    """

    shape: tuple[int, int, int] = (28, 28, 1)
    widths: tuple[int, ...] = (32, 64)
    book: int = 128
    code_width: int = 8

    reads_captions: ClassVar[bool] = False

    @property
    def multiple(self) -> int:
        """What height and width of an image must be multiples of."""
        return 2 ** len(self.widths)

    @property
    def grid(self) -> tuple[int, int]:
        """Height and width of the grid of codes."""
        return self.shape[0] // self.multiple, self.shape[1] // self.multiple

    @property
    def length(self) -> int:
        """N."""
        return self.grid[0] * self.grid[1]

    def setup(self) -> None:
        """Create the layers."""
        self.validate()
        self.encoder, self.decoder = (
            ImageEncoder(self.widths, self.code_width),
            ImageDecoder(self.widths, self.shape[2]),
        )
        self.vectors = self.param("book", nn.initializers.normal(1.0), (self.book, self.code_width), jnp.float32)

    def encode(self, image_BHWC: jax.Array) -> jax.Array:
        """Return the vectors of images before they become codes, of length 1, float32 [B, N, E], row by row."""
        found_BHWE = self.encoder(image_BHWC.astype(self.vectors.dtype))
        return unit(wide(found_BHWE)).reshape(-1, self.length, self.code_width)

    def nearest(self, vectors_BNE: jax.Array) -> jax.Array:
        """Return the codes of vectors of any length by their directions, int32 [B, N]."""
        return jnp.argmax(vectors_BNE @ unit(wide(self.vectors)).T, -1).astype(jnp.int32)

    def codes(self, image_BHWC: jax.Array) -> jax.Array:
        """Return the codes of images, int32 [B, N], row by row."""
        return self._quantise(image_BHWC)[2]

    def picture(self, codes_BN: jax.Array) -> jax.Array:
        """Return the images of codes, [B, H, W, C], about -1 to 1."""
        return self._grow(unit(wide(self.vectors))[codes_BN].astype(self.vectors.dtype))

    def __call__(self, image_BHWC: jax.Array) -> Quantised:
        """Encode images and make them again, with the gradient of the decoder passed on to the encoder."""
        vectors_BNE, nearest_BNE, codes_BN = self._quantise(image_BHWC)
        passed_BNE = vectors_BNE + jax.lax.stop_gradient(nearest_BNE - vectors_BNE)
        return Quantised(self._grow(passed_BNE.astype(self.vectors.dtype)), vectors_BNE, nearest_BNE, codes_BN)

    def _quantise(self, image_BHWC: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        vectors_BNE = self.encode(image_BHWC)
        codes_BN = self.nearest(vectors_BNE)
        return vectors_BNE, unit(wide(self.vectors))[codes_BN], codes_BN

    def _grow(self, vectors_BNE: jax.Array) -> jax.Array:
        return self.decoder(vectors_BNE.reshape(-1, *self.grid, self.code_width))

    def validate(self) -> None:
        """Check the fields against each other.

        Raises:
            BadInput: one line that names the fields and how to fix them.
        """
        super().validate()
        if len(self.shape) != 3 or not self.widths or any(side % self.multiple for side in self.shape[:2]):
            raise BadInput(
                f"model.shape is {self.shape} and model.widths {self.widths}: height and width must be multiples of "
                f"{self.multiple}, 2 to the power of the number of widths"
            )


def unit(vectors: jax.Array) -> jax.Array:
    """Return vectors of length 1 along the last axis."""
    return vectors * jax.lax.rsqrt(jnp.square(vectors).sum(-1, keepdims=True) + EPS)


class ResidualBlock(Module):
    """Two 3x3 convolutions on a residual branch, each after a norm of groups and SiLU.

    Attributes:
        features: channels in and out.
    """

    features: int

    @nn.compact
    def __call__(self, x_BHWC: jax.Array) -> jax.Array:
        """Apply the block, [B, H, W, features]."""
        y_BHWC = Conv(self.features, name="conv_1")(jax.nn.silu(ImageNorm("group", name="norm_1")(x_BHWC)))
        return x_BHWC + Conv(self.features, name="conv_2")(jax.nn.silu(ImageNorm("group", name="norm_2")(y_BHWC)))


class ImageEncoder(Module):
    """Convolutions from images to a small grid of vectors.

    Attributes:
        widths: channels of each stage; each halves height and width.
        features: of the vectors.
    """

    widths: tuple[int, ...]
    features: int

    @nn.compact
    def __call__(self, x_BHWC: jax.Array) -> jax.Array:
        """Return the vectors, [B, H', W', features]."""
        for stage, features in enumerate(self.widths):
            conv = Conv(features, (4, 4), 2, ((1, 1), (1, 1)), bias=True, name=f"down_{stage}")
            x_BHWC = ResidualBlock(features, name=f"block_{stage}")(conv(x_BHWC))
        return Dense(self.features, name="out")(jax.nn.silu(ImageNorm("group", name="norm")(x_BHWC)))


class ImageDecoder(Module):
    """Convolutions from a small grid of vectors to images.

    Attributes:
        widths: those of the encoder, the stage of the largest image first.
        channels: of an image.
    """

    widths: tuple[int, ...]
    channels: int

    @nn.compact
    def __call__(self, x_BHWE: jax.Array) -> jax.Array:
        """Return the images, [B, H, W, channels]."""
        x_BHWC = Conv(self.widths[-1], bias=True, name="begin")(x_BHWE)
        for stage, features in reversed([*enumerate(self.widths)]):
            x_BHWC = ResidualBlock(x_BHWC.shape[-1], name=f"block_{stage}")(x_BHWC)
            x_BHWC = Conv(features, bias=True, name=f"up_{stage}")(doubled(x_BHWC))
        return Conv(self.channels, bias=True, name="out")(jax.nn.silu(ImageNorm("group", name="norm")(x_BHWC)))
