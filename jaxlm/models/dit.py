"""The diffusion transformer DiT (Peebles & Xie 2023, arXiv:2212.09748), conditioned on a caption.

B batch, H height, W width, C channels, P patch, T patches, L tokens of a caption, D width of the model.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxlm.errors import BadInput
from jaxlm.models.bert import BERT
from jaxlm.models.vit import patches
from jaxlm.nn.attention import Attention
from jaxlm.nn.condition import AtTime, CaptionVector
from jaxlm.nn.feed_forward import FeedForward
from jaxlm.nn.linear import Dense, broadcast
from jaxlm.nn.module import Module
from jaxlm.nn.norm import LayerNorm
from jaxlm.nn.position import sinusoids


class Block(Module):
    """A layer of DiT with adaptive layer norm that starts as the identity (adaLN-Zero, figure 3).

    x + gate * attention(scale * norm(x) + shift), then the same with a feed-forward network. Scales, shifts and gates
    are an affine map of the condition, which is 0 at the beginning.
    """

    heads: int
    hidden: int
    depth: int

    @nn.compact
    def __call__(self, x_BTD: jax.Array, condition_BD: jax.Array) -> jax.Array:
        """Apply the layer, [B, T, D]."""
        width = x_BTD.shape[-1]
        attention = Attention(self.heads, self.heads, self.depth, causal=False, name="attention")
        feed_forward = FeedForward(self.hidden, self.depth, name="feed_forward")
        modulate = Dense(6 * width, kernel_init=nn.initializers.zeros, name="modulate")
        scale_1, shift_1, gate_1, scale_2, shift_2, gate_2 = _along_patches(modulate(condition_BD), x_BTD, 6)
        h_BTD, _ = attention(LayerNorm(name="attention_norm")(x_BTD) * (1 + scale_1) + shift_1)
        x_BTD = x_BTD + gate_1 * h_BTD
        h_BTD = feed_forward(LayerNorm(name="feed_forward_norm")(x_BTD) * (1 + scale_2) + shift_2)
        return x_BTD + gate_2 * h_BTD


def _along_patches(values_BK: jax.Array, x_BTD: jax.Array, parts: int) -> list[jax.Array]:
    """Return the parts [B, T, D] of values [B, parts * D], the same at each patch."""
    shape = (*x_BTD.shape[:2], values_BK.shape[-1])
    return jnp.split(broadcast(values_BK[:, None], shape), parts, -1)


class DiT(Module):
    """Predict how an image moves on its way from noise, given the time and a caption: images to images of their shape.

    The caption is read by a bidirectional encoder, whose mean vector is added to that of the time; a caption without
    tokens is the null condition. Patches have fixed sinusoidal positions of row and column, so the size of an image is
    not limited. Beside the paper's: a caption instead of a class, and norms with a scale of their own.

    Laws: the output of a row does not depend on other rows; it is zero at the beginning of training.

    Attributes:
        encoder: reads captions.
        patch: side P of the square patches.
        depth: number of layers.
        width: D, a multiple of 4 and of `heads`.
        heads: attention heads.
        hidden: width of the feed-forward networks; None: 4 * width.
    """

    encoder: BERT
    patch: int
    depth: int
    width: int
    heads: int
    hidden: int | None = None

    @property
    def multiple(self) -> int:
        """What height and width of an image must be multiples of."""
        return self.patch

    def setup(self) -> None:
        """Create the layers."""
        self.validate()
        self.caption, self.at_time = CaptionVector(self.width), AtTime(self.width)
        self.patch_embed = Dense(self.width)
        self.blocks = [Block(self.heads, self.hidden or 4 * self.width, self.depth) for _ in range(self.depth)]
        self.final_norm = LayerNorm()
        self.modulate = Dense(2 * self.width, kernel_init=nn.initializers.zeros)

    def encode(self, tokens_BL: jax.Array, segments_BL: jax.Array, *, train: bool = False) -> jax.Array:
        """Return the vector of each caption, [B, D].

        Args:
            tokens_BL: int32.
            segments_BL: int32, 1 on tokens and 0 on padding; a row of padding is the null condition.
            train: apply dropout of the encoder.
        """
        return self.caption(self.encoder.encode(tokens_BL, segments=segments_BL, train=train), segments_BL)

    @nn.compact
    def velocity(self, image_BHWC: jax.Array, times_B: jax.Array, caption_BD: jax.Array) -> jax.Array:
        """Return the derivative at points of the paths, [B, H, W, C].

        Args:
            image_BHWC: between noise (time 0) and image (time 1).
            times_B: from 0 to 1.
            caption_BD: what `encode` returned.
        """
        batch, height, width, channels = image_BHWC.shape
        rows, columns = height // self.patch, width // self.patch
        condition_BD = self.at_time(times_B, caption_BD)
        x_BTD = self.patch_embed(patches(image_BHWC.astype(caption_BD.dtype), self.patch))
        x_BTD = x_BTD + grid_positions(rows, columns, self.width)[None].astype(x_BTD.dtype)
        for block in self.blocks:
            x_BTD = block(x_BTD, condition_BD)
        scale, shift = _along_patches(self.modulate(condition_BD), x_BTD, 2)
        x_BTD = self.final_norm(x_BTD) * (1 + scale) + shift
        size = self.patch * self.patch * channels
        x_BTK = Dense(size, kernel_init=nn.initializers.zeros, name="out")(x_BTD)
        x = x_BTK.reshape(batch, rows, columns, self.patch, self.patch, channels)
        return x.swapaxes(2, 3).reshape(image_BHWC.shape)

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
        if self.width % 4 or self.width % self.heads:
            raise BadInput(f"model.width is {self.width}: it must be a multiple of 4 and of model.heads, {self.heads}")


def grid_positions(rows: int, columns: int, width: int) -> jax.Array:
    """Return sinusoidal positions of the places of a grid, row by row: float32 [rows * columns, width].

    The first half of a vector is that of the row and the second that of the column.
    """
    row_RD, column_CD = (sinusoids(jnp.arange(count), width // 2) for count in (rows, columns))
    shape = (rows, columns, width // 2)
    both = jnp.broadcast_to(row_RD[:, None], shape), jnp.broadcast_to(column_CD[None], shape)
    return jnp.concatenate(both, -1).reshape(rows * columns, width)
