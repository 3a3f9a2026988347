"""DETR: a set of boxes from a transformer, without anchors or suppression (Carion et al. 2020, arXiv:2005.12872).

B batch, H height, W width, C channels, T places of the grid of features, L layers of the decoder, Q queries, K classes,
D width of the model.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxlm.errors import BadInput
from jaxlm.models.encoder_decoder_layers import Block
from jaxlm.models.resnet import residual_stages
from jaxlm.nn.conv import Conv
from jaxlm.nn.linear import Dense, broadcast, wide
from jaxlm.nn.module import Module
from jaxlm.nn.norm import LayerNorm
from jaxlm.nn.position import sinusoids

NARROW = 1.5  # logits of width and height begin at minus this: 0.18 of the image


class BoxSet(NamedTuple):
    """What a detector says in each of its queries, after each layer of its decoder.

    Attributes:
        logits_LBQK: of each class and, last, of no object, for a softmax, [L, B, Q, K + 1]; float32.
        boxes_LBQ4: centre x, centre y, width and height, from 0 to 1 of the image; float32.
        canvas_2: width and height of the images in pixels; float32.
    """

    logits_LBQK: jax.Array
    boxes_LBQ4: jax.Array
    canvas_2: jax.Array


class DETR(Module):
    """Detect objects: images [B, H, W, 3], normalised, to a `BoxSet`.

    A backbone of residual blocks, an encoder over the places of its last stage, and a decoder whose queries each give
    one box or none. Beside the paper's: norms come before each branch and, in the backbone, are of groups of channels;
    positions are added once, before the encoder; and a query begins at a learned place of the image, from which its box
    is counted (Meng et al. 2021, arXiv:2108.06152, section 3.3), so that training needs fewer updates.

    Laws: an image's answer does not depend on its batch; each layer of the decoder is answered by the same heads.

    Attributes:
        classes: K.
        queries: Q, the most boxes of an image.
        widths: channels of the stages of the backbone, at strides 4, 8, 16, ...
        blocks: residual blocks in each stage.
        width: D, a multiple of 4 and of `heads`.
        heads: attention heads.
        encoder_depth: layers of the encoder.
        decoder_depth: L.
        hidden: width of the feed-forward networks; None: 4 * width.
        dropout: rate on the branches in training; it needs an rng named "dropout".
    """

    classes: int
    queries: int = 50
    widths: tuple[int, ...] = (32, 64, 96)
    blocks: int = 1
    width: int = 96
    heads: int = 4
    encoder_depth: int = 2
    decoder_depth: int = 3
    hidden: int | None = None
    dropout: float = 0.0

    hyperparameters = ("dropout",)

    @nn.compact
    def __call__(self, image_BHWC: jax.Array, *, train: bool = False) -> BoxSet:
        """Return what each query says after each layer of the decoder."""
        self.validate()
        batch, high, across, _ = image_BHWC.shape
        memory_BTD = self._encode(residual_stages(image_BHWC, self.widths, self.blocks, train)[-1], train)
        logits_2 = self.param("places", spread, (self.queries, 2), jnp.float32)
        place_QD = grid_vectors(nn.sigmoid(wide(logits_2)), self.width).astype(memory_BTD.dtype)
        query_QD = Dense(self.width, name="query")(place_QD)
        x_BQD = broadcast(query_QD[None], (batch, *query_QD.shape))
        norm, heads = LayerNorm(name="decoder_norm"), BoxHeads(self.classes, self.width, name="answers")
        everywhere = jnp.ones((1, 1, self.queries, self.queries), bool)  # a query sees all others
        found = []
        for layer in range(self.decoder_depth):
            block = self._block(f"decoder_{layer}", decoder=True)
            x_BQD = block.read(x_BQD, memory_BTD, everywhere, train)
            found.append(heads(norm(x_BQD), wide(logits_2)))
        logits, boxes = (jnp.stack(parts) for parts in zip(*found, strict=True))
        return BoxSet(logits, boxes, jnp.array([across, high], jnp.float32))

    def _encode(self, x_BHWC: jax.Array, train: bool) -> jax.Array:
        """Return the vector of each place of the grid, [B, T, D]."""
        x_BHWD = Conv(self.width, (1, 1), bias=True, name="project")(x_BHWC)
        rows, columns = x_BHWD.shape[1:3]
        y, x = jnp.meshgrid((jnp.arange(rows) + 0.5) / rows, (jnp.arange(columns) + 0.5) / columns, indexing="ij")
        at_TD = grid_vectors(jnp.stack([x, y], -1).reshape(-1, 2), self.width)
        x_BTD = x_BHWD.reshape(-1, rows * columns, self.width) + at_TD[None].astype(x_BHWD.dtype)
        for layer in range(self.encoder_depth):
            x_BTD = self._block(f"encoder_{layer}", decoder=False).read(x_BTD, None, None, train)
        return LayerNorm(name="encoder_norm")(x_BTD)

    def _block(self, name: str, *, decoder: bool) -> "AttendingBlock":
        return AttendingBlock(
            heads=self.heads,
            head_width=self.width // self.heads,
            width=self.width,
            hidden=self.hidden or 4 * self.width,
            activation="relu",
            dropout=self.dropout,
            hidden_dropout=self.dropout,
            eps=1e-5,
            decoder=decoder,
            norm="layer",
            bias=True,
            scaled=True,
            key_bias=False,
            name=name,
        )

    def validate(self) -> None:
        """Check the fields.

        Raises:
            BadInput: one line that names the field and how to fix it.
        """
        super().validate()
        if self.width % 4 or self.width % self.heads:
            raise BadInput(f"model.width is {self.width}: it must be a multiple of 4 and of model.heads, {self.heads}")
        if not self.widths:
            raise BadInput("model.widths is empty: give the channels of at least 1 stage")


class AttendingBlock(Block):
    """A layer of the encoder or decoder that is called with what it attends to."""

    def read(
        self, x_BTD: jax.Array, memory_BSD: jax.Array | None, mask_11TT: jax.Array | None, train: bool
    ) -> jax.Array:
        """Apply the layer, [B, T, D].

        Args:
            x_BTD: attends to itself.
            memory_BSD: the encoded image, for a decoder.
            mask_11TT: see `Block`.
            train: apply dropout.
        """
        source = None if memory_BSD is None else (self.source_attention.keys(memory_BSD), None)
        return self(x_BTD, mask_11TT, None, source, None, 0, train)[0]


class BoxHeads(Module):
    """The heads: a class and a box of each query (section 3.2).

    Attributes:
        classes: K.
        width: D.
    """

    classes: int
    width: int

    @nn.compact
    def __call__(self, x_BQD: jax.Array, places_Q2: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Return logits [B, Q, K + 1] and boxes [B, Q, 4] as `BoxSet` has them.

        Args:
            x_BQD: the queries.
            places_Q2: logits of x and y, from which the centre of a box is counted.
        """
        logits_BQK = wide(Dense(self.classes + 1, name="to_classes")(x_BQD))
        for number in range(2):
            x_BQD = nn.relu(Dense(self.width, name=f"boxes_{number}")(x_BQD))
        moved_BQ4 = wide(Dense(4, kernel_init=nn.initializers.normal(0.01), name="to_boxes")(x_BQD))
        begin_Q4 = jnp.concatenate([places_Q2, jnp.full_like(places_Q2, -NARROW)], -1)
        return logits_BQK, nn.sigmoid(moved_BQ4 + broadcast(begin_Q4[None], moved_BQ4.shape))


def spread(key: jax.Array, shape: tuple[int, ...], dtype: jnp.dtype) -> jax.Array:
    """Draw logits of places that are uniform in the image, but for its edges."""
    share = jax.random.uniform(key, shape, dtype, 0.05, 0.95)
    return jnp.log(share) - jnp.log1p(-share)


def grid_vectors(at_T2: jax.Array, width: int) -> jax.Array:
    """Return sinusoidal positions of places, float32 [T, width]: of x in the first half and of y in the second.

    Args:
        at_T2: x and y, from 0 to 1 of the image.
        width: a multiple of 4.
    """
    turns = 2 * jnp.pi * 8  # the fastest wave has 8 periods in an image
    return jnp.concatenate([sinusoids(at_T2[:, axis] * turns, width // 2) for axis in (0, 1)], -1)
