"""A small U-Net for images on their way from noise (Ho et al. 2020, arXiv:2006.11239, appendix B).

B batch, H height, W width, C channels, L tokens of a caption, D width of the condition.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxlm.errors import BadInput
from jaxlm.models.bert import BERT
from jaxlm.nn.attention import Attention
from jaxlm.nn.condition import AtTime, CaptionVector
from jaxlm.nn.conv import Conv
from jaxlm.nn.image_norm import ImageNorm
from jaxlm.nn.linear import Dense, broadcast
from jaxlm.nn.module import Module


class ConditionedBlock(Module):
    """Two 3x3 convolutions on a residual branch, whose second norm is scaled and shifted by the condition.

    Dhariwal & Nichol 2021, arXiv:2105.05233, section 3.1 (adaptive group normalisation).

    Attributes:
        features: channels out.
    """

    features: int

    @nn.compact
    def __call__(self, x_BHWC: jax.Array, condition_BD: jax.Array) -> jax.Array:
        """Apply the block, [B, H, W, features]."""
        y_BHWC = jax.nn.silu(ImageNorm("group", name="norm_1")(x_BHWC))
        y_BHWC = ImageNorm("group", name="norm_2")(Conv(self.features, name="conv_1")(y_BHWC))
        modulate = Dense(2 * self.features, kernel_init=nn.initializers.zeros, name="modulate")
        both = broadcast(modulate(condition_BD)[:, None, None], (*y_BHWC.shape[:3], 2 * self.features))
        scale, shift = jnp.split(both, 2, -1)
        y_BHWC = Conv(self.features, name="conv_2")(jax.nn.silu(y_BHWC * (1 + scale) + shift))
        if x_BHWC.shape[-1] != self.features:
            x_BHWC = Conv(self.features, (1, 1), name="shortcut")(x_BHWC)
        return x_BHWC + y_BHWC


def doubled(x_BHWC: jax.Array) -> jax.Array:
    """Return an image of twice the height and width, each pixel as four, [B, 2 H, 2 W, C]."""
    batch, height, width, channels = x_BHWC.shape
    x = broadcast(x_BHWC[:, :, None, :, None], (batch, height, 2, width, 2, channels))
    return x.reshape(batch, 2 * height, 2 * width, channels)


class UNet(Module):
    """Predict how an image moves on its way from noise, as `jaxlm.models.dit.DiT` does, with convolutions.

    Laws: the output of a row does not depend on other rows; it is zero at the beginning of training.

    Attributes:
        encoder: reads captions.
        widths: channels of each stage; every stage but the last halves height and width.
        blocks: in each stage, on the way down and on the way up.
        heads: attention heads at the smallest size.
    """

    encoder: BERT
    widths: tuple[int, ...] = (32, 64, 64)
    blocks: int = 1
    heads: int = 4

    @property
    def multiple(self) -> int:
        """What height and width of an image must be multiples of."""
        return 2 ** (len(self.widths) - 1)

    def setup(self) -> None:
        """Create the layers that read the condition."""
        self.validate()
        width = 4 * self.widths[0]
        self.caption, self.at_time = CaptionVector(width), AtTime(width)

    def encode(self, tokens_BL: jax.Array, segments_BL: jax.Array, *, train: bool = False) -> jax.Array:
        """Return the vector of each caption, [B, D]; see `DiT.encode`."""
        return self.caption(self.encoder.encode(tokens_BL, segments=segments_BL, train=train), segments_BL)

    @nn.compact
    def velocity(self, image_BHWC: jax.Array, times_B: jax.Array, caption_BD: jax.Array) -> jax.Array:
        """Return the derivative at points of the paths, [B, H, W, C]; see `DiT.velocity`."""
        condition_BD = self.at_time(times_B, caption_BD)
        x_BHWC = Conv(self.widths[0], bias=True, name="stem")(image_BHWC.astype(caption_BD.dtype))
        kept = []
        for stage, features in enumerate(self.widths):
            if stage:
                x_BHWC = Conv(features, stride=2, name=f"down_{stage}")(x_BHWC)
            for number in range(self.blocks):
                x_BHWC = ConditionedBlock(features, name=f"before_{stage}_{number}")(x_BHWC, condition_BD)
                kept.append(x_BHWC)
        x_BHWC = self._attend(x_BHWC)
        for stage, features in reversed([*enumerate(self.widths)]):
            for number in reversed(range(self.blocks)):
                x_BHWC = jnp.concatenate([x_BHWC, kept.pop()], -1)
                x_BHWC = ConditionedBlock(features, name=f"after_{stage}_{number}")(x_BHWC, condition_BD)
            if stage:
                x_BHWC = Conv(self.widths[stage - 1], name=f"up_{stage}")(doubled(x_BHWC))
        x_BHWC = jax.nn.silu(ImageNorm("group", name="final_norm")(x_BHWC))
        return Dense(image_BHWC.shape[-1], kernel_init=nn.initializers.zeros, name="out")(x_BHWC)

    def _attend(self, x_BHWC: jax.Array) -> jax.Array:
        """Let the places at the smallest size attend to each other, on a residual branch."""
        batch, height, width, channels = x_BHWC.shape
        x_BTC = ImageNorm("group", name="attention_norm")(x_BHWC).reshape(batch, height * width, channels)
        y_BTC, _ = Attention(self.heads, self.heads, 1, causal=False, name="attention")(x_BTC)
        return x_BHWC + y_BTC.reshape(x_BHWC.shape)

    def __call__(
        self,
        image_BHWC: jax.Array,
        times_B: jax.Array,
        tokens_BL: jax.Array,
        segments_BL: jax.Array,
        *,
        train: bool = False,
    ) -> jax.Array:
        """Return `velocity` for captions; it needs an rng named "dropout" where the encoder has some and `train`."""
        return self.velocity(image_BHWC, times_B, self.encode(tokens_BL, segments_BL, train=train))

    def validate(self) -> None:
        """Check the fields against each other.

        Raises:
            BadInput: one line that names the fields and how to fix them.
        """
        super().validate()
        if not self.widths or self.widths[-1] % self.heads:
            raise BadInput(f"model.widths is {self.widths}: give some, the last a multiple of model.heads {self.heads}")
