"""The vision transformer (Dosovitskiy et al. 2021, arXiv:2010.11929).

B batch, H height, W width, C channels, P patch, T tokens, D width of the model.
"""

from functools import partial
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxlm.errors import BadInput
from jaxlm.nn.attention import Attention
from jaxlm.nn.dropout import Dropout
from jaxlm.nn.feed_forward import FeedForward
from jaxlm.nn.linear import dense
from jaxlm.nn.module import Module
from jaxlm.nn.norm import LayerNorm
from jaxlm.nn.position import LearnedPositions


class Block(Module):
    """One pre-norm encoder layer: x + attention(norm(x)), then x + feed_forward(norm(x)) (equations 2 and 3)."""

    heads: int
    hidden: int
    depth: int
    dropout: float
    eps: float
    activation: Literal["gelu", "gelu_exact"]
    qkv_bias: bool
    train: bool

    @nn.compact
    def __call__(self, x_BTD: jax.Array) -> jax.Array:
        """The layer, [B, T, D]."""
        drop = Dropout(self.dropout, deterministic=not self.train, name="drop")
        attention = Attention(
            self.heads, self.heads, self.depth, causal=False, qkv_bias=self.qkv_bias, name="attention"
        )
        h_BTD, _ = attention(LayerNorm(self.eps, name="attention_norm")(x_BTD))
        x_BTD = x_BTD + drop(h_BTD)
        h_BTD = LayerNorm(self.eps, name="feed_forward_norm")(x_BTD)
        return x_BTD + drop(FeedForward(self.hidden, self.depth, self.activation, name="feed_forward")(h_BTD))


class ViT(Module):
    """Images [B, H, W, channels], normalised, to logits [B, classes].

    classes: 0 is no read-out: the pooled vector itself, [B, D], as pretrained encoders give it.
    patch: side of the square patches that become tokens; it divides height and width, which need not be equal.
    image: height, width and channels of the images, which the learned positions belong to; None: those of the images
      that the parameters were made with.
    depth, width, heads: layers, width of the residual stream, attention heads.
    hidden: width of the feed-forward network, by default 4 * width.
    pool: what the last layer sees: "token", a learned class token (equation 4), or "mean", the mean of all patches.
    representation: tanh of an affine map to the same width between pooling and read-out (section 3.1, pre-training).
    activation: see `FeedForward`.    qkv_bias: a bias in queries, keys and values.
    dropout: rate on the embeddings and on both residual branches, in training; then an rng named "dropout" is needed.
    remat: recompute each layer in the backward pass.
    axis_name: not used: here so that every image model is placed the same way.
    Kernels start as in GPT-2 (`jaxlm.nn.linear`), but for the embedding of patches: N(0, 1 / fan_in), truncated.
    """

    classes: int
    patch: int
    depth: int
    width: int
    heads: int
    hidden: int | None = None
    pool: Literal["token", "mean"] = "token"
    dropout: float = 0.0
    remat: bool = False
    eps: float = 1e-6
    representation: bool = False
    activation: Literal["gelu", "gelu_exact"] = "gelu"
    qkv_bias: bool = True
    image: tuple[int, int, int] | None = None
    axis_name: str | None = None

    def setup(self) -> None:
        """Declare what stands between pooling and logits."""
        if self.representation:
            self.pre_head = dense(self.width, bias=True, name="pre_head")
        if self.classes:
            self.head = dense(self.classes, bias=True, name="head")

    def __call__(self, image_BHWC: jax.Array, *, train: bool = False) -> jax.Array:
        """Logits of each class; raises as `encode` does."""
        x_BTD = self.encode(image_BHWC, train=train)
        x_BD = x_BTD[:, 0] if self.pool == "token" else x_BTD.mean(1)
        x_BD = jnp.tanh(self.pre_head(x_BD)) if self.representation else x_BD
        return self.head(x_BD) if self.classes else x_BD

    @nn.compact
    def encode(self, image_BHWC: jax.Array, *, train: bool = False) -> jax.Array:
        """Vectors of the class token, where there is one, and of each patch, [B, T, D], after the last norm.

        Raises:
          BadInput: fields that contradict each other, or images of another shape than `image`, or that the patch
            does not divide.
        """
        self.validate()
        if self.image is not None and image_BHWC.shape[1:] != self.image:
            raise BadInput(f"images of {image_BHWC.shape[1:]} are not of model.image {self.image}: make them so")
        x_BTD = nn.Dense(self.width, name="patch_embed")(patches(image_BHWC, self.patch))
        if self.pool == "token":
            token_11D = self.param("token", nn.initializers.zeros, (1, 1, self.width)).astype(x_BTD.dtype)
            token_B1D = jnp.broadcast_to(token_11D, (len(x_BTD), 1, self.width))
            x_BTD = jnp.concatenate([token_B1D, x_BTD], axis=1)
        tokens = x_BTD.shape[1]
        x_BTD = x_BTD + LearnedPositions(tokens, self.width, name="position_embed")(None, tokens)
        x_BTD = Dropout(self.dropout, deterministic=not train, name="drop")(x_BTD)
        for layer in range(self.depth):
            x_BTD = self._block(f"block_{layer}", train)(x_BTD)
        return LayerNorm(self.eps, name="final_norm")(x_BTD)

    def validate(self) -> None:
        """Check the fields against each other.

        Raises:
          BadInput: one line that names the fields and the mend.
        """
        for name in ("patch", "depth", "width", "heads", "hidden"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise BadInput(f"model.{name} is {value}: it must be at least 1")
        if self.width % self.heads:
            raise BadInput(f"model.heads {self.heads} does not divide model.width {self.width}: change one of the two")

    def _block(self, name: str, train: bool) -> Block:
        kind = nn.remat(Block) if self.remat else Block
        return kind(
            self.heads,
            self.hidden or 4 * self.width,
            self.depth,
            self.dropout,
            self.eps,
            self.activation,
            self.qkv_bias,
            train,
            name=name,
        )


def patches(image_BHWC: jax.Array, patch: int) -> jax.Array:
    """Cut images into patches, row by row from the top left, and flatten each: [B, T, P * P * C].

    Raises:
      BadInput: where the patch does not divide height and width.
    """
    batch, height, width, channels = image_BHWC.shape
    if height % patch or width % patch:
        raise BadInput(
            f"model.patch {patch} does not divide images of {height} x {width}: crop them or change the patch"
        )
    x = image_BHWC.reshape(batch, height // patch, patch, width // patch, patch, channels)
    return x.swapaxes(2, 3).reshape(batch, -1, patch * patch * channels)


vit_ti16 = partial(ViT, patch=16, depth=12, width=192, heads=3)
vit_s16 = partial(ViT, patch=16, depth=12, width=384, heads=6)
vit_b16 = partial(ViT, patch=16, depth=12, width=768, heads=12)
