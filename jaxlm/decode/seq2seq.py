"""Answering one text by another, with models that encode a source and decode a target.

B batch, S tokens of the source, T tokens of the target, V vocabulary.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from jaxlm.decode.generate import NO_STOP, extend, power_of_two, until
from jaxlm.errors import BadInput


class EncoderDecoder(Protocol):
    """What a model must offer, as `jaxlm.models.t5.T5` does: hashable, with these methods reached through `apply`.

    "init_cache": (sources [B, S], length, segments=[B, S]) -> cache.
    "decode": (targets [B, T], cache=cache) -> (logits [B, T, V], cache).
    """

    @property
    def vocab(self) -> int:
        """The number of tokens."""

    @property
    def apply(self) -> Any:
        """(variables, ..., method=name) -> what the method returns."""


def greedy(
    model: EncoderDecoder,
    variables: Any,
    sources: Sequence[Sequence[int]],
    *,
    length: int,
    start: int = 0,
    stop: int | None = 1,
) -> list[list[int]]:
    """The most probable next token, again and again, for each source: up to `length` tokens, without start and stop.

    One program is compiled for each batch size and power of two that holds the sources and the new tokens.

    Args:
      model: what encodes and decodes.
      variables: the model's variables, {"params": ...}.
      sources: token lists, of any lengths.
      length: new tokens at most.
      start: the token that the target begins with (T5's is its padding).
      stop: a token that ends its row.

    Raises:
      BadInput: on no or empty sources, tokens outside of the vocabulary, or a length below 1.
    """
    _check(model, sources, length, start)
    tokens_BS = np.zeros((len(sources), power_of_two(max(map(len, sources)))), np.int32)
    segments_BS = np.zeros_like(tokens_BS)
    for row, source in enumerate(sources):
        tokens_BS[row, : len(source)] = source
        segments_BS[row, : len(source)] = 1
    stop_or_none = NO_STOP if stop is None else stop
    new_BT = _answer(model, variables, tokens_BS, segments_BS, start, length, stop_or_none, slots=power_of_two(length))
    return [until(row, stop) for row in np.asarray(new_BT)[:, :length].tolist()]


@partial(jax.jit, static_argnames=("model", "slots"))
def _answer(model, variables, tokens_BS, segments_BS, start, length, stop, *, slots):
    """Encode once, then decode one token at a time; new tokens [B, slots]."""
    cache = model.apply(variables, tokens_BS, slots, segments=segments_BS, method="init_cache")
    start_B = jnp.full(len(tokens_BS), start, jnp.int32)

    def most_probable(logits_BV, step):
        return logits_BV.argmax(-1).astype(jnp.int32)

    advance = partial(model.apply, variables, method="decode")
    return extend(advance, cache, start_B, most_probable, length, stop, slots)


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
