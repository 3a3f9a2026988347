"""Decoding of several requests that come and go: each has a slot with a cache of its own (continuous batching).

A prompt is read into its slot in pieces, and one step adds a token to every slot that is in use (Yu et al. 2022, Orca,
section 4.1). Both are pure functions of fixed shapes, so that two programs are compiled for a service, whoever asks.

S slots, C tokens of a piece, V vocabulary.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from jaxlm.decode.generate import Decoder
from jaxlm.decode.sampling import sample_tokens

PIECE = 64  # tokens of a prompt that are read at a time
SHORT = 8  # of a prompt that is short, or of the end of one
SEVERAL = 8  # tokens that a step may add where nobody waits


class Draw(NamedTuple):
    """How the next token of a slot is chosen; arrays of one number, or of one for each slot.

    Attributes:
        seed: uint32; token `step` of a request is a function of (seed, step).
        step: int32, new tokens so far.
        temperature: float32; 0 is greedy.
        top_p: float32.
    """

    seed: Any
    step: Any
    temperature: Any
    top_p: Any


class SlotDecoder(Protocol):
    """What a service decodes with: two functions of arrays that can be compiled, and their sizes."""

    @property
    def context(self) -> int:
        """The longest sequence."""

    @property
    def piece(self) -> int:
        """The tokens of a piece, C."""

    @property
    def pieces(self) -> tuple[int, ...]:
        """Numbers of tokens that may be read at a time, ascending; the last one is `piece`."""

    @property
    def init(self) -> Callable[[Any, int], Any]:
        """(variables, S) -> the empty caches of S slots."""

    @property
    def prefill(self) -> Callable[..., tuple[Any, Any]]:
        """See `ModelSlots.prefill`."""

    @property
    def sizes(self) -> tuple[int, ...]:
        """Places of a cache that a step may be limited to, ascending; the last one is all of them."""

    @property
    def counts(self) -> tuple[int, ...]:
        """Numbers of tokens that a step may add, ascending from 1."""

    @property
    def step(self) -> Callable[..., tuple[Any, Any]]:
        """See `ModelSlots.step`."""


@dataclass(frozen=True)
class ModelSlots:
    """Decodes with a model whose cache has a number `filled` of the places that are in use.

    Law: a slot's tokens depend on what is in that slot alone, whatever the others hold.

    Attributes:
        model: has `apply` and `init_cache`.
        most: tokens of a prompt that are read at a time, where the context has as many.
    """

    model: Decoder
    most: int = PIECE

    @property
    def piece(self) -> int:
        """Return the tokens of a piece, C."""
        return min(self.most, self.context)

    @property
    def pieces(self) -> tuple[int, ...]:
        """Return the numbers of tokens that may be read at a time."""
        return (SHORT, self.piece) if self.piece > SHORT else (self.piece,)

    @property
    def context(self) -> int:
        """Return the longest sequence of the model."""
        return self.model.context

    def init(self, variables: Any, count: int) -> Any:
        """Return the empty caches of a number of slots: the model's cache of one row with a leading axis [S].

        There is room for a piece more than the context, so that the padding of a prompt's last piece never reaches its
        tokens.
        """
        dtype = jnp.result_type(*jax.tree.leaves(variables["params"]))
        cache = self.model.init_cache(1, self.context + self.piece, dtype)
        return jax.tree.map(lambda x: jnp.zeros((count, *x.shape), x.dtype), cache)

    def prefill(
        self, variables: Any, slots: Any, slot: Any, tokens_C: Any, count: Any, fresh: Any, draw: Draw
    ) -> tuple[Any, jax.Array]:
        """Read a piece of a prompt into a slot.

        Args:
            variables: of the model.
            slots: the caches.
            slot: int32, which one.
            tokens_C: int32, the tokens, and padding after them; C is one of `pieces`.
            count: int32, how many are tokens, at least 1.
            fresh: bool, whether the slot is emptied before.
            draw: for the token after the piece.

        Returns:
            The caches, and the token that comes after the piece, int32 []; of use after the last piece.
        """
        cache = jax.tree.map(lambda x: jax.lax.dynamic_index_in_dim(x, slot, keepdims=False), slots)
        filled = jnp.where(fresh, 0, cache.filled)
        logits_1CV, cache = self.model.apply(variables, tokens_C[None], cache=cache._replace(filled=filled))
        cache = cache._replace(filled=filled + count)
        slots = jax.tree.map(lambda x, new: jax.lax.dynamic_update_index_in_dim(x, new, slot, 0), slots, cache)
        last_1V = jax.lax.dynamic_index_in_dim(logits_1CV[0], count - 1)
        return slots, choose(last_1V, jax.tree.map(lambda x: jnp.asarray(x)[None], draw))[0]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Return the places that a step may be limited to: powers of two from 64, and all of them."""
        whole = self.context + self.piece
        return (*(1 << k for k in range(6, whole.bit_length()) if 1 << k < whole), whole)

    @property
    def counts(self) -> tuple[int, ...]:
        """Return the numbers of tokens that a step may add."""
        return (1, SEVERAL)

    def step(
        self, variables: Any, slots: Any, tokens_S: Any, used_S: Any, draw: Draw, *, places: int, count: int
    ) -> tuple[Any, jax.Array]:
        """Add tokens to every slot that is in use, and return the next ones of each.

        Places of the caches past the tokens cost time and change nothing but rounding, so a step may be limited to the
        first ones.

        Args:
            variables: of the model.
            slots: the caches.
            tokens_S: int32, the last token of each, which is not in its cache yet.
            used_S: bool; the caches of others stay as they are, but for places after their end.
            draw: of each; `step` of the first token.
            places: of the caches that are read and written, static; the tokens of each slot and `count` more fit.
            count: tokens to add, static.

        Returns:
            The caches, and the next tokens, int32 [count, S].
        """
        axes = self._length_axes()
        part = jax.tree.map(lambda x, axis: x if axis is None else x.take(jnp.arange(places), axis), slots, axes)

        def one(cache: Any, token: jax.Array) -> tuple[jax.Array, Any]:
            logits_11V, cache = self.model.apply(variables, token[None, None], cache=cache)
            return logits_11V[0, 0], cache

        def add(carry: tuple[Any, Any], number: jax.Array) -> tuple[tuple[Any, Any], jax.Array]:
            part, tokens_S = carry
            logits_SV, after = jax.vmap(one)(part, tokens_S)
            filled_S = jnp.where(used_S, after.filled, part.filled)
            found_S = choose(logits_SV, draw._replace(step=draw.step + number))
            return (after._replace(filled=filled_S), found_S), found_S

        (part, _), found_TS = jax.lax.scan(add, (part, tokens_S), jnp.arange(count))
        return jax.tree.map(_write_back, slots, part, axes), found_TS

    def _length_axes(self) -> Any:
        """Return for each leaf of the caches the axis of its places, or None."""
        shapes = [jax.eval_shape(partial(self.model.init_cache, 1, length)) for length in (2, 3)]

        def axis(one: Any, other: Any) -> int | None:
            pairs = enumerate(zip(one.shape, other.shape, strict=True))
            return next((place + 1 for place, (a, b) in pairs if a != b), None)

        return jax.tree.map(axis, *shapes)


def _write_back(whole: jax.Array, part: jax.Array, axis: int | None) -> jax.Array:
    return part if axis is None else jax.lax.dynamic_update_slice_in_dim(whole, part, 0, axis)


def choose(logits_SV: jax.Array, draw: Draw) -> jax.Array:
    """Draw the next token of each row, int32 [S], as `predict` does for the first input of a list with that seed."""

    def key(seed: jax.Array, step: jax.Array) -> jax.Array:
        of_input = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), 0), 0)
        return jax.random.fold_in(of_input, step)

    keys_S = jax.vmap(key)(draw.seed, draw.step)
    return sample_tokens(logits_SV, keys_S, temperature=draw.temperature, top_p=draw.top_p)
