"""Decoding of several requests that come and go: each has a slot with a cache of its own (continuous batching).

A prompt is read into its slot in pieces, and one step adds a token to every slot that is in use (Yu et al. 2022, Orca,
section 4.1). Both are pure functions of fixed shapes, so that two programs are compiled for a service, whoever asks.

S slots, C tokens of a piece, V vocabulary.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from jaxlm.decode.generate import Decoder
from jaxlm.decode.sampling import sample_tokens

PIECE = 64  # tokens of a prompt that are read at a time


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
    def init(self) -> Callable[[Any, int], Any]:
        """(variables, S) -> the empty caches of S slots."""

    @property
    def prefill(self) -> Callable[..., tuple[Any, Any]]:
        """See `ModelSlots.prefill`."""

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
            tokens_C: int32, the tokens, and padding after them.
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

    def step(self, variables: Any, slots: Any, tokens_S: Any, used_S: Any, draw: Draw) -> tuple[Any, jax.Array]:
        """Add a token to every slot that is in use, and return the next one of each.

        Args:
            variables: of the model.
            slots: the caches.
            tokens_S: int32, the last token of each, which is not in its cache yet.
            used_S: bool; the caches of others stay as they are, but for one place after their end.
            draw: of each.

        Returns:
            The caches, and the next tokens, int32 [S].
        """

        def one(cache: Any, token: jax.Array) -> tuple[jax.Array, Any]:
            logits_11V, cache = self.model.apply(variables, token[None, None], cache=cache)
            return logits_11V[0, 0], cache

        logits_SV, after = jax.vmap(one)(slots, tokens_S)
        filled_S = jnp.where(used_S, after.filled, slots.filled)
        return after._replace(filled=filled_S), choose(logits_SV, draw)


def choose(logits_SV: jax.Array, draw: Draw) -> jax.Array:
    """Draw the next token of each row, int32 [S], as `predict` does for the first input of a list with that seed."""

    def key(seed: jax.Array, step: jax.Array) -> jax.Array:
        of_input = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), 0), 0)
        return jax.random.fold_in(of_input, step)

    keys_S = jax.vmap(key)(draw.seed, draw.step)
    return sample_tokens(logits_SV, keys_S, temperature=draw.temperature, top_p=draw.top_p)
