"""The decoder-only transformer of GPT-2, Llama and their relatives.

B batch, T tokens, S cache slots, V vocabulary, D width, L layers, N heads, K key and value heads, H head width.
"""

from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxlm.errors import BadInput
from jaxlm.models.block import AttentionBias, Block
from jaxlm.nn.attention import Cache, segment_mask, window_mask
from jaxlm.nn.dropout import Dropout
from jaxlm.nn.embed import Embed
from jaxlm.nn.feed_forward import Activation
from jaxlm.nn.linear import broadcast, dense
from jaxlm.nn.module import Module
from jaxlm.nn.norm import make_norm
from jaxlm.nn.position import LearnedPositions, RotaryScaling, Rotation, positions_within, rotary_angles


class GPT(Module):
    """A decoder-only transformer language model; the module is its own config, and every field is a plain value.

    There is no dtype: the computation follows the dtype of the parameters, with the statistics of norms and the softmax
    in float32. Cast the parameters to compute in bfloat16.

    Attributes:
        vocab: number of tokens.
        depth: number of layers.
        width: width of the residual stream.
        heads: query heads.
        context: the longest sequence.
        kv_heads: key and value heads; None: as `heads`.
        norm: LayerNorm or RMSNorm.
        pre_norm: see `Block`.
        activation: see `FeedForward`.
        positions: learned or rotary.
        hidden: width of the feed-forward network; None: 4 * width.
        dropout: rate on the embeddings and on both residual branches.
        bias: add biases in the affine maps and in LayerNorm.
        tied: use the token table as the output layer.
        remat: recompute each layer in the backward pass.
        scan: compile one layer and loop over stacked parameters; compiles faster, and steps are slower on a CPU.
        eps: of the norms.
        rotary_base: base of the rotary angles.
        head_width: width of a head; None: width / heads.
        attention_bias: which maps of attention have a bias; None: as `bias`.
        window: number of tokens that attention sees; None: all.
        rotary_scaling: scaling of the rotary angles for longer contexts.
    """

    vocab: int
    depth: int
    width: int
    heads: int
    context: int
    kv_heads: int | None = None
    norm: Literal["layer", "rms"] = "layer"
    pre_norm: bool = True
    activation: Activation = "gelu"
    positions: Literal["learned", "rotary"] = "learned"
    hidden: int | None = None
    dropout: float = 0.0
    bias: bool = True
    tied: bool = True
    remat: bool = False
    scan: bool = False
    eps: float = 1e-5
    rotary_base: float = 10000.0
    head_width: int | None = None
    attention_bias: AttentionBias | None = None
    window: int | None = None
    rotary_scaling: RotaryScaling | None = None

    hyperparameters = ("dropout",)

    def setup(self) -> None:
        """Create the token table and the output layer."""
        self.embed = Embed(self.vocab, self.width)
        if not self.tied:
            self.head = dense(self.vocab, bias=False, name="head")

    def __call__(
        self,
        tokens_BT: jax.Array,
        *,
        segments: jax.Array | None = None,
        positions: jax.Array | None = None,
        cache: Cache | None = None,
        train: bool = False,
    ) -> jax.Array | tuple[jax.Array, Cache]:
        """Predict each next token, as logits [B, T, V].

        Args:
            tokens_BT: int32, T at most `context`; a token outside the vocabulary gives NaN logits.
            segments: int32 [B, T]; a token attends only to earlier ones of the same number; 0 is padding.
            positions: int32 [B, T]. None: counted from the start of the row, or of each run of equal segments.
            cache: from `init_cache` or an earlier call. It excludes segments and positions, which it implies.
            train: apply dropout; it needs an rng named "dropout" where `dropout` > 0.

        Returns:
            The logits; with a cache, a pair of the logits and the cache with these tokens added.

        Raises:
            BadInput: fields that contradict each other, more tokens than `context`, or a cache together with segments.
        """
        x_BTD, cache = self._hidden(tokens_BT, segments, positions, cache, train)
        logits_BTV = self.embed.attend(x_BTD) if self.tied else self.head(x_BTD)
        return logits_BTV if cache is None else (logits_BTV, cache)

    def encode(
        self,
        tokens_BT: jax.Array,
        *,
        segments: jax.Array | None = None,
        positions: jax.Array | None = None,
        train: bool = False,
    ) -> jax.Array:
        """Encode tokens into contextual vectors, [B, T, D], the input of the output layer; arguments as for `__call__`.

        A token's vector depends on earlier tokens only.
        """
        return self._hidden(tokens_BT, segments, positions, None, train)[0]

    @nn.compact
    def _hidden(
        self,
        tokens_BT: jax.Array,
        segments: jax.Array | None,
        positions: jax.Array | None,
        cache: Cache | None,
        train: bool,
    ) -> tuple[jax.Array, Cache | None]:
        self.validate()
        length = tokens_BT.shape[1]
        self._check_call(length, segments, positions, cache)
        mask_B1TS = None if self.window is None or length <= self.window else window_mask(length, self.window)
        if cache is not None:
            mask_B1TS, positions = cache.mask(length, self.window), cache.positions(length)
        elif segments is not None:
            same_B1TS = segment_mask(segments)
            mask_B1TS = same_B1TS if mask_B1TS is None else same_B1TS & mask_B1TS
            positions = positions_within(segments) if positions is None else positions

        x_BTD, angles = self.embed(tokens_BT), None
        if self.positions == "learned":
            position_BTD = LearnedPositions(self.context, self.width, name="position_embed")(positions, length)
            x_BTD = x_BTD + broadcast(position_BTD, x_BTD.shape)
        else:
            positions = jnp.arange(length)[None] if positions is None else positions
            angles = rotary_angles(positions, self._head_width, self.rotary_base, self.rotary_scaling)
        x_BTD = Dropout(self.dropout, deterministic=not train, name="drop")(x_BTD)
        x_BTD, cache = self._layers((x_BTD, cache), mask_B1TS, angles, train)
        if self.pre_norm:
            x_BTD = make_norm(self.norm, eps=self.eps, bias=self.bias, name="final_norm")(x_BTD)
        return x_BTD, cache if cache is None else cache._replace(filled=cache.filled + length)

    def _layers(
        self,
        carry: tuple[jax.Array, Cache | None],
        mask_B1TS: jax.Array | None,
        angles: Rotation | None,
        train: bool,
    ) -> tuple[jax.Array, Cache | None]:
        """Apply all blocks, one after another or as one scanned block with stacked parameters."""
        kind = nn.remat(Block, prevent_cse=not self.scan) if self.remat else Block
        if self.scan:
            kind = nn.scan(
                kind,
                variable_axes={"params": 0},
                split_rngs={"params": True, "dropout": True},
                in_axes=(0, nn.broadcast, nn.broadcast),
                length=self.depth,
            )
            return self._block(kind, "blocks", train)(carry, jnp.arange(self.depth), mask_B1TS, angles)[0]
        for layer in range(self.depth):
            carry, _ = self._block(kind, f"block_{layer}", train)(carry, layer, mask_B1TS, angles)
        return carry

    def _block(self, kind: type[Block], name: str, train: bool) -> Block:
        return kind(
            heads=self.heads,
            kv_heads=self.kv_heads or self.heads,
            head_width=self._head_width,
            hidden=self.hidden or 4 * self.width,
            depth=self.depth,
            norm=self.norm,
            pre_norm=self.pre_norm,
            activation=self.activation,
            dropout=self.dropout,
            bias=self.bias,
            attention_bias=self._attention_bias,
            eps=self.eps,
            train=train,
            name=name,
        )

    @property
    def _head_width(self) -> int:
        return self.head_width or self.width // self.heads

    @property
    def _attention_bias(self) -> AttentionBias:
        return self.attention_bias or ("all" if self.bias else "none")

    def init_cache(
        self, batch: int, length: int, dtype: jax.typing.DTypeLike = jnp.float32, start: jax.Array | None = None
    ) -> Cache:
        """Create an empty key-value cache.

        Writing past the last slot is not detected: it would overwrite the last ones.

        Args:
            batch: number of rows.
            length: number of slots for tokens, those of left padding included.
            dtype: of keys and values.
            start: int32 [B], the number of padding slots at the left of each row. None: none.
        """
        self.validate()
        shape = (self.depth, batch, self.kv_heads or self.heads, length, self._head_width)
        start = jnp.zeros(batch, jnp.int32) if start is None else jnp.asarray(start, jnp.int32)
        return Cache(jnp.zeros(shape, dtype), jnp.zeros(shape, dtype), jnp.zeros((), jnp.int32), start)

    def validate(self) -> None:
        """Check the fields against each other.

        Raises:
            BadInput: one line that names the fields and how to fix them.
        """
        super().validate()
        if not self.rotary_base:
            raise BadInput("model.rotary_base is 0: it must be more than 0")
        if self.head_width is None and self.width % self.heads:
            raise BadInput(
                f"model.heads {self.heads} does not divide model.width {self.width}: "
                f"take a width of {max(1, round(self.width / self.heads)) * self.heads} or another number of heads"
            )
        if self.heads % (self.kv_heads or self.heads):
            raise BadInput(
                f"model.kv_heads {self.kv_heads} does not divide model.heads {self.heads}: take one that does"
            )
        if self.positions == "rotary" and self._head_width % 2:
            named = (
                f"model.width {self.width} / model.heads {self.heads}"
                if self.head_width is None
                else "model.head_width"
            )
            raise BadInput(
                f"{named} is {self._head_width}: rotary positions need an even head width: change it, or take learned "
                "positions"
            )

    def _check_call(
        self, length: int, segments: jax.Array | None, positions: jax.Array | None, cache: Cache | None
    ) -> None:
        if length > self.context:
            raise BadInput(
                f"{length} tokens are longer than model.context {self.context}: shorten them or raise model.context"
            )
        if cache is not None and (segments is not None or positions is not None):
            raise BadInput("a cache implies segments and positions: give either the cache or those")
        if cache is not None and length > cache.slots:
            raise BadInput(f"{length} tokens do not fit into a cache of {cache.slots} slots: make it longer")

    def parameter_count(self) -> int:
        """Count the trained scalars, from the fields alone."""
        self.validate()
        width, hidden, bias = self.width, self.hidden or 4 * self.width, int(self.bias)
        inner = self._head_width * self.heads
        qkv = inner + 2 * self._head_width * (self.kv_heads or self.heads)
        attention = (width + int(self._attention_bias != "none")) * qkv
        attention += (inner + int(self._attention_bias == "all")) * width
        ups = 2 if self.activation == "swiglu" else 1
        feed_forward = ups * (width + bias) * hidden + (hidden + bias) * width
        norm = width * (1 + bias) if self.norm == "layer" else width
        tables = self.vocab * (1 if self.tied else 2) + (self.context if self.positions == "learned" else 0)
        norms = 2 * self.depth + int(self.pre_norm)
        return tables * width + self.depth * (attention + feed_forward) + norms * norm

    def flops_per_token(self, length: int) -> float:
        """Estimate the floating-point operations of training on one token of a sequence of this length.

        Forward and backward, 6 N + 12 L D T (Chowdhery et al. 2022, PaLM, appendix B; Kaplan et al. 2020, section 2.1),
        with D the width of all heads together. N counts the parameters without those that are only looked up
        (positions, and the token table if it is not tied). Attention is counted in full, whatever causality and
        `window` save, and `remat` is not counted.
        """
        looked_up = (0 if self.tied else self.vocab) + (self.context if self.positions == "learned" else 0)
        matrices = self.parameter_count() - looked_up * self.width
        return 6.0 * matrices + 12.0 * self.depth * self.heads * self._head_width * length
