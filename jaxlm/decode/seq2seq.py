"""Greedy decoding and beam search with encoder-decoder models.

B batch, S tokens of the source, T tokens of the target, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from jaxlm.decode.beam import Hypotheses, beam_search
from jaxlm.decode.generate import NO_STOP, extend, power_of_two, until
from jaxlm.errors import BadInput
from jaxlm.steps import Model


@dataclass(frozen=True)
class BeamSearch:
    """Spec of a search for the most probable target of a source, see `beam_search`.

    Attributes:
        beams: hypotheses that go on; 1 is greedy decoding.
        penalty: power of the length that log-probabilities are divided by.
        ratio: tokens of a target at most for each token of its source ...
        extra: ... and beside these.
    """

    beams: int = 5
    penalty: float = 1.0
    ratio: float = 2.0
    extra: int = 10

    def __post_init__(self) -> None:
        if self.beams < 1 or self.penalty < 0 or self.ratio < 0 or self.extra < 1:
            raise BadInput(f"decode is {self}: beams and extra are at least 1, penalty and ratio at least 0")

    def __call__(
        self,
        model: "EncoderDecoder",
        variables: Any,
        tokens_BS: jax.Array,
        segments_BS: jax.Array,
        start: int,
        end: int,
    ) -> jax.Array:
        """Return the best target of each source, int32 [B, T]; what follows the token `end` has no meaning."""
        slots = int(self.ratio * tokens_BS.shape[1]) + self.extra
        length_B = (self.ratio * (segments_BS > 0).sum(1)).astype(jnp.int32) + self.extra
        sources, options = (tokens_BS, segments_BS), {"beams": self.beams, "slots": slots, "penalty": self.penalty}
        found = beam_tokens(model, variables, *sources, start, length_B, end, **options)
        beyond_BT = jnp.arange(slots)[None] >= found.lengths[:, :1]
        return jnp.where(beyond_BT, end, found.tokens[:, 0])


class EncoderDecoder(Model, Protocol):
    """A hashable encoder-decoder model, such as `jaxlm.models.t5.T5`.

    Its `apply` reaches these methods by `method=name`:

        "init_cache": (sources [B, S], length, segments=[B, S]) -> cache
        "decode": (targets [B, T], cache=cache) -> (logits [B, T, V], cache)
    """

    @property
    def vocab(self) -> int:
        """The number of tokens."""


def greedy(
    model: EncoderDecoder,
    variables: Any,
    sources: Sequence[Sequence[int]],
    *,
    length: int,
    start: int = 0,
    stop: int | None = 1,
) -> list[list[int]]:
    """Decode greedily: take the most probable next token, up to `length` tokens, for each source.

    One program is compiled for each batch size and power of two of the lengths of sources and new tokens.

    Args:
        model: encodes and decodes.
        variables: the model's variables, {"params": ...}.
        sources: token lists, of any lengths.
        length: the largest number of new tokens.
        start: the token that the target begins with (T5's is its padding).
        stop: a token that ends its row.

    Returns:
        The new tokens of each source, without start and stop.

    Raises:
        BadInput: no sources, an empty source, tokens outside the vocabulary, or a length below 1.
    """
    _check(model, sources, length, start)
    tokens_BS = np.zeros((len(sources), power_of_two(max(map(len, sources)))), np.int32)
    segments_BS = np.zeros_like(tokens_BS)
    for row, source in enumerate(sources):
        tokens_BS[row, : len(source)] = source
        segments_BS[row, : len(source)] = 1
    stop_or_none = NO_STOP if stop is None else stop
    slots = power_of_two(length)
    new_BT = greedy_tokens(model, variables, tokens_BS, segments_BS, start, length, stop_or_none, slots=slots)
    return [until(row, stop) for row in np.asarray(new_BT)[:, :length].tolist()]


@partial(jax.jit, static_argnames=("model", "slots"))
def greedy_tokens(model, variables, tokens_BS, segments_BS, start, length, stop, *, slots):
    """Answer padded sources, where everything is an array: inside of jit, such as the outputs of an evaluation.

    Args:
      model: what encodes and decodes.
      variables: the model's variables, {"params": ...}.
      tokens_BS: int32, the sources.
      segments_BS: int32, 1 where a source has a token and 0 on padding.
      start: the token that the target begins with.
      length: new tokens at most.
      stop: the token that ends a row; NO_STOP is none.
      slots: room for new tokens, at least `length`.

    Returns:
      New tokens, int32 [B, slots]; what follows a stop means nothing (see `until`).
    """
    cache = model.apply(variables, tokens_BS, slots, segments=segments_BS, method="init_cache")
    start_B = jnp.full(tokens_BS.shape[0], start, jnp.int32)

    def most_probable(logits_BV, step):
        return logits_BV.argmax(-1).astype(jnp.int32)

    advance = partial(model.apply, variables, method="decode")
    return extend(advance, cache, start_B, most_probable, length, stop, slots)


@partial(jax.jit, static_argnames=("model", "beams", "slots"))
def beam_tokens(
    model: EncoderDecoder,
    variables: Any,
    tokens_BS: jax.Array,
    segments_BS: jax.Array,
    start: int | jax.Array,
    length: int | jax.Array,
    stop: int | jax.Array,
    *,
    beams: int,
    slots: int,
    penalty: float | jax.Array = 1.0,
) -> Hypotheses:
    """Search for the most probable targets of padded sources, see `beam_search`; a function of arrays.

    Args:
        model: encodes and decodes.
        variables: the model's variables, {"params": ...}.
        tokens_BS: int32, the sources.
        segments_BS: int32, 1 where a source has a token and 0 on padding.
        start: the token that the target begins with.
        length: new tokens at most; one number or one for each row, [B].
        stop: the token that ends a row; NO_STOP is none.
        beams: hypotheses that go on, static.
        slots: room for new tokens, at least `length`, static.
        penalty: power of the length that log-probabilities are divided by.
    """

    def cache_of(tokens: jax.Array, segments: jax.Array) -> Any:
        return model.apply(variables, tokens, slots, segments=segments, method="init_cache")

    def make_cache(size: int) -> Any:
        blank = jnp.zeros((size, tokens_BS.shape[1]), jnp.int32)
        return cache_of(blank, blank)

    return beam_search(
        partial(model.apply, variables, method="decode"),
        make_cache,
        cache_of(tokens_BS, segments_BS),
        jnp.full(tokens_BS.shape[0], start, jnp.int32),
        beams=beams,
        slots=slots,
        length=length,
        stop=stop,
        penalty=penalty,
    )


def _check(model: EncoderDecoder, sources: Sequence[Sequence[int]], length: int, start: int) -> None:
    if not sources:
        raise BadInput("no sources to answer: give at least one")
    for row, source in enumerate(sources):
        if not len(source):
            raise BadInput(f"source {row} is empty: give at least one token")
        if not 0 <= min(source) <= max(source) < model.vocab:
            raise BadInput(f"source {row} holds a token outside of 0 .. {model.vocab - 1}: encode it for this model")
    if not 0 <= start < model.vocab:
        raise BadInput(f"start is {start}, outside of 0 .. {model.vocab - 1}: take a token of this model")
    if length < 1:
        raise BadInput(f"length is {length}: ask for at least 1 new token")
