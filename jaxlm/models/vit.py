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
from jaxlm.nn.linear import Dense, broadcast, dense
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
        """Apply the layer, [B, T, D]."""
        drop = Dropout(self.dropout, deterministic=not self.train, name="drop")
        attention = Attention(
            self.heads, self.heads, self.depth, causal=False, qkv_bias=self.qkv_bias, name="attention"
        )
        h_BTD, _ = attention(LayerNorm(self.eps, name="attention_norm")(x_BTD))
        x_BTD = x_BTD + drop(h_BTD)
        h_BTD = LayerNorm(self.eps, name="feed_forward_norm")(x_BTD)
        return x_BTD + drop(FeedForward(self.hidden, self.depth, self.activation, name="feed_forward")(h_BTD))


class ViT(Module):
    """Classify images with a vision transformer: [B, H, W, channels], normalised, to logits [B, classes].

    Kernels start as in GPT-2 (`jaxlm.nn.linear`), except for the patch embedding: N(0, 1 / fan_in), truncated.

    Attributes:
        classes: number of classes; 0 returns the pooled vector itself, [B, D], as pretrained encoders give it.
        patch: side of the square patches that become tokens; it divides height and width, which may differ.
        depth: number of layers.
        width: width of the residual stream.
        heads: attention heads.
        hidden: width of the feed-forward network; None: 4 * width.
        pool: input of the last layer: "token", a learned class token (equation 4), or "mean", the mean of all patches.
        dropout: rate on the embeddings and on both residual branches in training; it needs an rng named "dropout".
        remat: recompute each layer in the backward pass.
        eps: of the norms.
        representation: add an affine map and tanh between pooling and last layer (section 3.1, pre-training).
        activation: see `FeedForward`.
        qkv_bias: add a bias to queries, keys and values.
        image: height, width and channels for which the learned positions are made; None: those of the first images.
        axis_name: not used; every image model has it, so that all are placed the same way.
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

    hyperparameters = ("dropout",)
    may_be_zero = ("classes",)

    def setup(self) -> None:
        """Create the layers between pooling and logits."""
        if self.representation:
            self.pre_head = dense(self.width, bias=True, name="pre_head")
        if self.classes:
            self.head = dense(self.classes, bias=True, name="head")

    def __call__(self, image_BHWC: jax.Array, *, train: bool = False) -> jax.Array:
        """Return the logits of each class; raises as `encode` does."""
        x_BTD = self.encode(image_BHWC, train=train)
        x_BD = x_BTD[:, 0] if self.pool == "token" else x_BTD.mean(1)
        x_BD = jnp.tanh(self.pre_head(x_BD)) if self.representation else x_BD
        return self.head(x_BD) if self.classes else x_BD

    @nn.compact
    def encode(self, image_BHWC: jax.Array, *, train: bool = False) -> jax.Array:
        """Encode images into vectors of the class token (if any) and of each patch, [B, T, D], after the last norm.

        Raises:
            BadInput: fields that contradict each other, images of another shape than `image`, or images that the patch
                does not divide.
        """
        self.validate()
        if self.image is not None and image_BHWC.shape[1:] != self.image:
            raise BadInput(f"images of {image_BHWC.shape[1:]} are not of model.image {self.image}: make them so")
        x_BTD = Dense(self.width, name="patch_embed")(patches(image_BHWC, self.patch))
        if self.pool == "token":
            token_11D = self.param("token", nn.initializers.zeros, (1, 1, self.width), jnp.float32).astype(x_BTD.dtype)
            token_B1D = broadcast(token_11D, (x_BTD.shape[0], 1, self.width))
            x_BTD = jnp.concatenate([token_B1D, x_BTD], axis=1)
        tokens = x_BTD.shape[1]
        position_1TD = LearnedPositions(tokens, self.width, name="position_embed")(None, tokens)
        x_BTD = x_BTD + broadcast(position_1TD, x_BTD.shape)
        x_BTD = Dropout(self.dropout, deterministic=not train, name="drop")(x_BTD)
        for layer in range(self.depth):
            x_BTD = self._block(f"block_{layer}", train)(x_BTD)
        return LayerNorm(self.eps, name="final_norm")(x_BTD)

    def validate(self) -> None:
        """Check the fields against each other.

        Raises:
            BadInput: one line that names the fields and how to fix them.
        """
        super().validate()
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
        BadInput: the patch does not divide height and width.
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
