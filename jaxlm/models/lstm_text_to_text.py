"""An LSTM writes a text from a text, with attention: the baseline of the transformers.

B batch, T tokens of the target, S tokens of the source, V vocabulary, D width, H width of a state, G = 4 H gates.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxlm.models.lstm import EMBED_STD, LSTM
from jaxlm.nn.dropout import Dropout
from jaxlm.nn.embed import Embed
from jaxlm.nn.linear import Dense, wide
from jaxlm.nn.module import Module
from jaxlm.nn.recurrent import cell, forget_bias, project


class ReadSource(NamedTuple):
    """An encoded source as the decoder reads it at every step.

    Attributes:
        keys_BSH: what a state is compared with, W_a m.
        values_BSD: what is read, W_c m.
        mask_BS: bool, True where the source has a token.
    """

    keys_BSH: jax.Array
    values_BSD: jax.Array
    mask_BS: jax.Array


class DecoderState(NamedTuple):
    """What the decoder carries from token to token: state, cell and attentional vector."""

    h_BH: jax.Array
    c_BH: jax.Array
    fed_BD: jax.Array


class RecurrentCache(NamedTuple):
    """The cache of the decoder: the source, and the state after the target tokens so far."""

    source: ReadSource
    state: DecoderState


class AttentionDecoder(Module):
    """One LSTM layer with global attention, the score "general" and input feeding (Luong et al. 2015, 1508.04025).

    With m the states of the encoder and y the vector of the token before, equations 5 to 8 and section 3.3:

        h_t, c_t = LSTM([y_t; v_{t-1}], h_{t-1}, c_{t-1})
        a_t = softmax over s of h_t' W_a m_s
        v_t = tanh(W_c [sum over s of a_ts m_s; h_t])

    The first state is tanh(W m_0 + b) of the first token's state, in which the backward layer has read all of the
    source (Bahdanau et al. 2015, arXiv:1409.0473, appendix A.2.2); c and v begin at 0. W_c's products with the source
    do not depend on t, so they are computed once.

    Attributes:
        width: of token vectors and of attentional vectors v.
        hidden: width of the state.
    """

    width: int
    hidden: int

    def setup(self) -> None:
        """Create the parameters; those of the recurrence are arrays, since no module may be made inside of a loop."""
        glorot, gates = nn.initializers.glorot_uniform(), 4 * self.hidden
        self.kernel = self.param("kernel", glorot, (self.width, gates), jnp.float32)
        self.feed = self.param("feed", glorot, (self.width, gates), jnp.float32)
        self.recurrent = self.param("recurrent", nn.initializers.orthogonal(), (self.hidden, gates), jnp.float32)
        self.bias = self.param("bias", forget_bias, (gates,), jnp.float32)
        self.show = self.param("show", glorot, (self.hidden, self.width), jnp.float32)
        self.key = Dense(self.hidden, bias=False, kernel_init=glorot)
        self.value = Dense(self.width, bias=False, kernel_init=glorot)
        self.first = Dense(self.hidden, kernel_init=glorot)

    def read(self, memory_BSM: jax.Array, mask_BS: jax.Array) -> RecurrentCache:
        """Return what all steps read of the encoder's states, and the state before the first token."""
        source = ReadSource(self.key(memory_BSM), self.value(memory_BSM), mask_BS)
        h_BH = jnp.tanh(self.first(memory_BSM[:, 0]))
        return RecurrentCache(source, DecoderState(h_BH, jnp.zeros_like(h_BH), jnp.zeros_like(source.values_BSD[:, 0])))

    def __call__(self, vectors_BTD: jax.Array, cache: RecurrentCache) -> tuple[jax.Array, RecurrentCache]:
        """Return the attentional vectors v after each token [B, T, D], and the cache after the last one."""
        state, fed_BTD, _ = self._steps(vectors_BTD, cache)
        return fed_BTD, cache._replace(state=state)

    def shares(self, vectors_BTD: jax.Array, cache: RecurrentCache) -> jax.Array:
        """Return a, the share of each token of the source in what each step reads, [B, T, S]."""
        return self._steps(vectors_BTD, cache)[2]

    def _steps(self, vectors_BTD: jax.Array, cache: RecurrentCache) -> tuple[DecoderState, jax.Array, jax.Array]:
        """Return the state after the last token, v [B, T, D] and a [B, T, S]."""
        gates_TBG = project(vectors_BTD.swapaxes(0, 1), self.kernel, self.bias)
        dtype = gates_TBG.dtype
        # Loops add the gradients of their constants in the dtypes of these.
        keys_BSH, values_BSD = map(wide, cache.source[:2])
        feed_DG, recurrent_HG, show_HD = map(wide, (self.feed, self.recurrent, self.show))

        def step(state: DecoderState, gates_BG: jax.Array) -> tuple[DecoderState, tuple[jax.Array, jax.Array]]:
            fed_BG = state.fed_BD @ feed_DG.astype(dtype)
            h_BH, c_BH = cell(gates_BG + fed_BG + state.h_BH @ recurrent_HG.astype(dtype), state.c_BH)
            scores_BS = jnp.einsum("bh,bsh->bs", h_BH, keys_BSH.astype(dtype)).astype(jnp.float32)
            least = jnp.finfo(jnp.float32).min  # and not -inf: a row of padding alone remains finite
            share_BS = jax.nn.softmax(jnp.where(cache.source.mask_BS, scores_BS, least)).astype(dtype)
            read_BD = jnp.einsum("bs,bsd->bd", share_BS, values_BSD.astype(dtype))
            fed_BD = jnp.tanh(read_BD + h_BH @ show_HD.astype(dtype))
            return DecoderState(h_BH, c_BH, fed_BD), (fed_BD, share_BS)

        state, (fed_TBD, share_TBS) = jax.lax.scan(step, cache.state, gates_TBG)
        return state, fed_TBD.swapaxes(0, 1), share_TBS.swapaxes(0, 1)


class LSTMTextToText(Module):
    """An LSTM encoder in both directions and an LSTM decoder with attention (Luong et al. 2015).

    The table of the target tokens is the output layer too (Press & Wolf 2017). It is used as the models of
    `jaxlm.models.encoder_decoder` are, for one text a row: segments are 1, or 0 on the padding behind a text.

    Attributes:
        vocab: number of tokens of both sides.
        width: width of the token vectors.
        hidden: width of the decoder's state and of each direction of the encoder; None: `width`.
        depth: layers of the encoder; the decoder has one.
        dropout: rate on the input of every layer, on the encoder's states and on the input of the output layer.
    """

    vocab: int = 8000
    width: int = 256
    hidden: int | None = None
    depth: int = 1
    dropout: float = 0.2

    hyperparameters = ("dropout",)

    def setup(self) -> None:
        """Create the encoder, the table of target tokens and the decoder."""
        self.validate()
        self.encoder = LSTM(self.vocab, self.width, self.hidden, self.depth, dropout=self.dropout)
        self.embed = Embed(self.vocab, self.width, EMBED_STD)
        self.decoder = AttentionDecoder(self.width, self.hidden or self.width)
        self.drop = Dropout(self.dropout)

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

        Laws: the logits are those of `decode`, token by token; neither padding nor the other rows change them.

        Args:
            tokens_BS: int32, the source.
            targets_in_BT: int32, the start token, then the targets without the last one.
            segments: int32 [B, S]; 1 is the source, 0 padding behind it. None: all of the row.
            target_segments: not needed, since padding follows a target and no token reads a later one.
            train: apply dropout; it needs an rng named "dropout" where `dropout` > 0.
        """
        del target_segments
        cache = self._read(tokens_BS, segments, train)
        return self._continue(targets_in_BT, cache, train)[0]

    def encode(self, tokens_BS: jax.Array, *, segments: jax.Array | None = None, train: bool = False) -> jax.Array:
        """Encode a source text into the states of both directions, [B, S, 2 H]."""
        return self.encoder(tokens_BS, segments=segments, train=train)

    def init_cache(self, tokens_BS: jax.Array, length: int, *, segments: jax.Array | None = None) -> RecurrentCache:
        """Encode the source and create the cache that `decode` starts from.

        Args:
            tokens_BS: int32, the source.
            length: not needed: the cache does not grow with the target.
            segments: as in `__call__`.
        """
        del length
        return self._read(tokens_BS, segments, train=False)

    def decode(self, targets_BT: jax.Array, *, cache: RecurrentCache) -> tuple[jax.Array, RecurrentCache]:
        """Predict the token after each of the next target tokens.

        Returns:
            Logits [B, T, V], and the cache with these tokens added.
        """
        return self._continue(targets_BT, cache, train=False)

    def alignment(self, targets_BT: jax.Array, *, cache: RecurrentCache) -> jax.Array:
        """Return how much each of the next target tokens attends to each token of the source, [B, T, S]; rows sum to 1.

        A token's row is that of the step that reads it and predicts the next one.
        """
        return self.decoder.shares(self.embed(targets_BT), cache)

    def _read(self, tokens_BS: jax.Array, segments: jax.Array | None, train: bool) -> RecurrentCache:
        memory_BSM = self.drop(self.encode(tokens_BS, segments=segments, train=train), deterministic=not train)
        return self.decoder.read(memory_BSM, jnp.ones(tokens_BS.shape, bool) if segments is None else segments > 0)

    def _continue(self, targets_BT: jax.Array, cache: RecurrentCache, train: bool) -> tuple[jax.Array, RecurrentCache]:
        vectors_BTD = self.drop(self.embed(targets_BT), deterministic=not train)
        fed_BTD, cache = self.decoder(vectors_BTD, cache)
        return self.embed.attend(self.drop(fed_BTD, deterministic=not train)), cache
