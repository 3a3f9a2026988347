"""A generative adversarial network for images: a maker and a judge, both given a caption.

B batch, H height, W width, C channels, L tokens of a caption, Z width of the noise, D width of a caption's vector.
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxlm.errors import BadInput
from jaxlm.models.bert import BERT
from jaxlm.models.unet import ConditionedBlock, doubled
from jaxlm.nn.condition import CaptionVector
from jaxlm.nn.conv import Conv
from jaxlm.nn.image_norm import ImageNorm
from jaxlm.nn.linear import Dense, wide
from jaxlm.nn.module import Module


class GAN(Module):
    """Two nets with parameters of their own, `make` and `judge`, each initialised by its method.

    The maker begins with a small image of many channels and doubles it in every stage; the judge goes the way back. It
    adds to what it thinks of an image the product of the image's features with the caption's (projection, Miyato &
    Koyama 2018, arXiv:1802.05637).

    Stages are those of DCGAN (Radford et al. 2016, arXiv:1511.06434), or residual blocks whose norms are scaled and
    shifted by noise and caption, as in Miyato & Koyama. Both differ from the papers where an image would depend on its
    batch or on a checkerboard: norms are of groups of channels, and an image is doubled by repeating its pixels before
    a convolution (Odena et al. 2016).

    Laws: what is made of a row, and what is thought of one, depends on the row alone.

    Attributes:
        encoder: reads captions; each net has one.
        shape: (H, W, C) of an image.
        latent: Z.
        widths: channels of the maker's stages, the smallest image first; the judge's are the same from the end.
        residual: whether the stages are residual blocks.
    """

    encoder: BERT
    shape: tuple[int, int, int] = (28, 28, 1)
    latent: int = 64
    widths: tuple[int, ...] = (64, 32)
    residual: bool = False

    def setup(self) -> None:
        """Create what reads captions."""
        self.validate()
        self.caption = CaptionVector(self.latent)

    def make(self, noise_BZ: jax.Array, tokens_BL: jax.Array, segments_BL: jax.Array) -> jax.Array:
        """Return images of noise and captions, [B, H, W, C], -1 to 1; a row of padding has no caption."""
        caption_BZ = self._read(tokens_BL, segments_BL)
        return self._grow(jnp.concatenate([noise_BZ.astype(caption_BZ.dtype), caption_BZ], 1))

    def judge(self, image_BHWC: jax.Array, tokens_BL: jax.Array, segments_BL: jax.Array) -> jax.Array:
        """Return a number for each image, [B]: high for real ones with this caption, low for made ones."""
        caption_BZ = self._read(tokens_BL, segments_BL)
        return self._shrink(image_BHWC.astype(caption_BZ.dtype), caption_BZ)

    def _read(self, tokens_BL: jax.Array, segments_BL: jax.Array) -> jax.Array:
        """Return the vector of each caption."""
        return self.caption(self.encoder.encode(tokens_BL, segments=segments_BL), segments_BL)

    @nn.compact
    def _grow(self, condition_BD: jax.Array) -> jax.Array:
        """Make images, stage by stage."""
        high, width = (side // 2 ** len(self.widths) for side in self.shape[:2])
        x_BHWC = Dense(high * width * self.widths[0], name="begin")(condition_BD)
        x_BHWC = x_BHWC.reshape(condition_BD.shape[0], high, width, self.widths[0])
        for stage, features in enumerate(self.widths):
            x_BHWC = doubled(x_BHWC)
            if self.residual:
                x_BHWC = ConditionedBlock(features, name=f"block_{stage}")(x_BHWC, condition_BD)
            else:
                x_BHWC = jax.nn.relu(ImageNorm("group", name=f"norm_{stage}")(x_BHWC))
                x_BHWC = Conv(features, name=f"conv_{stage}")(x_BHWC)
        x_BHWC = jax.nn.relu(ImageNorm("group", name="norm")(x_BHWC))
        return jnp.tanh(Conv(self.shape[2], bias=True, name="out")(x_BHWC))

    @nn.compact
    def _shrink(self, x_BHWC: jax.Array, caption_BZ: jax.Array) -> jax.Array:
        """Judge images, stage by stage."""
        for stage, features in reversed([*enumerate(self.widths)]):
            if self.residual:
                x_BHWC = JudgeBlock(features, name=f"judge_block_{stage}")(x_BHWC)
            else:
                conv = Conv(features, (4, 4), 2, ((1, 1), (1, 1)), bias=True, name=f"judge_conv_{stage}")
                x_BHWC = jax.nn.leaky_relu(conv(x_BHWC), 0.2)
        x_BF = x_BHWC.reshape(x_BHWC.shape[0], -1)
        x_BF = jax.nn.leaky_relu(Dense(2 * self.widths[0], name="judge_features")(x_BF), 0.2)
        fits_B = wide(x_BF * Dense(x_BF.shape[1], name="judge_caption")(caption_BZ)).sum(1) / math.sqrt(x_BF.shape[1])
        return wide(Dense(1, name="judge_head")(x_BF))[:, 0] + fits_B

    def __call__(self, noise_BZ: jax.Array, tokens_BL: jax.Array, segments_BL: jax.Array) -> jax.Array:
        """Return `make`; the parameters of the judge are those of `init(..., method="judge")`."""
        return self.make(noise_BZ, tokens_BL, segments_BL)

    def validate(self) -> None:
        """Check the fields against each other.

        Raises:
            BadInput: one line that names the fields and how to fix them.
        """
        super().validate()
        multiple = 2 ** len(self.widths)
        if len(self.shape) != 3 or not self.widths or any(side % multiple for side in self.shape[:2]):
            raise BadInput(
                f"model.shape is {self.shape} and model.widths {self.widths}: height and width must be multiples of "
                f"{multiple}, 2 to the power of the number of widths"
            )


class JudgeBlock(Module):
    """Two 3x3 convolutions on a residual branch, and the mean of each 2 x 2 pixels (Miyato et al. 2018, figure 8).

    Attributes:
        features: channels out.
    """

    features: int

    @nn.compact
    def __call__(self, x_BHWC: jax.Array) -> jax.Array:
        """Apply the block, [B, H / 2, W / 2, features]."""
        y_BHWC = Conv(self.features, bias=True, name="conv_1")(jax.nn.leaky_relu(x_BHWC, 0.2))
        y_BHWC = Conv(self.features, bias=True, name="conv_2")(jax.nn.leaky_relu(y_BHWC, 0.2))
        x_BHWC = Conv(self.features, (1, 1), name="shortcut")(x_BHWC) + y_BHWC
        batch, height, width, channels = x_BHWC.shape
        parts = x_BHWC.reshape(batch, height // 2, 2, width // 2, 2, channels)
        return wide(parts).mean((2, 4)).astype(x_BHWC.dtype)
