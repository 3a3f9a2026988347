"""What encoder-decoder models share: a source text is encoded once, and a target text is predicted token by token.

B batch, T tokens of the target, S tokens of the source, U slots of a cache, V vocabulary, D width.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlm.models.encoder_decoder_layers import EncodedSource, Stack
from jaxlm.nn.attention import Cache, segment_mask
from jaxlm.nn.module import Module


class DecoderCache(NamedTuple):
    """The cache of the decoder: the encoded source, and the keys and values of the target tokens so far."""

    source: EncodedSource
    targets: Cache


class TextToText(Module):
    """Base of a model with two stacks of layers; a model adds `stacks`, `embed_tokens` and `logits`."""

    def setup(self) -> None:
        """Create the encoder and the decoder."""
        self.encoder, self.decoder = self.stacks()

    def stacks(self) -> tuple[Stack, Stack]:
        """Return the encoder and the decoder."""
        raise NotImplementedError

    def embed_tokens(self, tokens_BT: jax.Array, start: int | jax.Array = 0) -> jax.Array:
        """Return the vectors of tokens whose first position is `start`, [B, T, D]."""
        raise NotImplementedError

    def logits(self, hidden_BTD: jax.Array) -> jax.Array:
        """Return the logits of hidden vectors, [B, T, V]."""
        raise NotImplementedError

    def __call__(
        self,
        tokens_BS: jax.Array,
        targets_in_BT: jax.Array,
        *,
        segments: jax.Array | None = None,
        target_segments: jax.Array | None = None,
        train: bool = False,
    ) -> jax.Array:
        """Predict the target token after each one of `targets_in_BT`, as logits [B, T, V].

        Args:
            tokens_BS: int32, the source; a token outside the vocabulary gives NaN.
            targets_in_BT: int32, the start token, then the targets without the last one.
            segments: int32 [B, S]; 0 is padding. None: a row is one source, without padding.
            target_segments: int32 [B, T]; a target token attends to earlier ones, and to all source tokens, of the same
                number. None: each row is segment 1.
            train: apply dropout; it needs an rng named "dropout" where `dropout` > 0.
        """
        memory_BSD = self.encode(tokens_BS, segments=segments, train=train)
        mask_B1TS = None
        if segments is not None:
            of_target = jnp.ones_like(targets_in_BT) if target_segments is None else target_segments
            mask_B1TS = (of_target[:, :, None] == segments[:, None, :])[:, None]
        causal_B1TT = None if target_segments is None else segment_mask(target_segments)
        source = self.decoder.read(memory_BSD, mask_B1TS)
        hidden_BTD, _ = self.decoder(self.embed_tokens(targets_in_BT), causal_B1TT, source, train=train)
        return self.logits(hidden_BTD)

    def encode(self, tokens_BS: jax.Array, *, segments: jax.Array | None = None, train: bool = False) -> jax.Array:
        """Encode a source text into hidden vectors, [B, S, D]; a token attends to those of the same segment number."""
        mask_B1SS = None if segments is None else segment_mask(segments, causal=False)
        return self.encoder(self.embed_tokens(tokens_BS), mask_B1SS, train=train)[0]

    def init_cache(self, tokens_BS: jax.Array, length: int, *, segments: jax.Array | None = None) -> DecoderCache:
        """Encode the source and create the cache that `decode` starts from.

        Args:
            tokens_BS: int32, the source.
            length: number of free slots for target tokens.
            segments: int32 [B, S]; segment 1 is the source. None: all of the row.
        """
        memory_BSD = self.encode(tokens_BS, segments=segments)
        source = self.decoder.read(memory_BSD, None if segments is None else (segments == 1)[:, None, None])
        batch, layer = tokens_BS.shape[0], self.decoder.layer
        shape = (self.decoder.depth, batch, layer.heads, length, layer.head_width)
        slots = jnp.zeros(shape, memory_BSD.dtype)
        return DecoderCache(source, Cache(slots, slots, jnp.zeros((), jnp.int32), jnp.zeros(batch, jnp.int32)))

    def decode(self, targets_BT: jax.Array, *, cache: DecoderCache) -> tuple[jax.Array, DecoderCache]:
        """Predict the token after each of the next target tokens.

        Returns:
            Logits [B, T, V], and the cache with these tokens added.
        """
        mask_B1TU = cache.targets.mask(targets_BT.shape[1])
        hidden_BTD, targets = self.decoder(self.embed_tokens(targets_BT, cache.targets.filled), mask_B1TU, *cache)
        assert targets is not None  # a cache in, a cache out
        return self.logits(hidden_BTD), cache._replace(targets=targets)
