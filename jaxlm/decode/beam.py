"""Beam search over any decoder with a cache, batched and compiled once.

B batch, K beams, T new tokens, V vocabulary.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

Advance = Callable[..., tuple[jax.Array, Any]]


class Hypotheses(NamedTuple):
    """The best continuations of each row, the best one first.

    Attributes:
        tokens: int32 [B, K, T], the stop included; what follows it has no meaning.
        scores: float32 [B, K], the log-probability over `length ** penalty`; -inf where there is none.
        lengths: int32 [B, K], the number of tokens, the stop included.
    """

    tokens: jax.Array
    scores: jax.Array
    lengths: jax.Array


class _Search(NamedTuple):
    """The carry of the search: the hypotheses that go on, and the pool of those that have ended."""

    step: jax.Array
    tokens: jax.Array  # [B, K, T]
    log_p: jax.Array  # [B, K]
    pool: Hypotheses
    done: jax.Array  # [B]
    cache: list[jax.Array]


def beam_search(
    advance: Advance,
    make_cache: Callable[[int], Any],
    cache: Any,
    start_B: jax.Array,
    *,
    beams: int,
    slots: int,
    length: int | jax.Array,
    stop: int | jax.Array,
    penalty: float | jax.Array = 1.0,
) -> Hypotheses:
    """Search for the most probable continuations, inside jit; in each step only the K best hypotheses go on.

    A hypothesis among the K best of its step that ends with the stop joins the pool, ranked by log-probability over
    `length ** penalty` (Wu et al. 2016, section 7, without their constants, as fairseq has it). A row has ended once
    its pool has K hypotheses, or after `length` tokens, when those that go on join the pool as they are.

    Laws: one beam is greedy decoding; with at least as many beams as there are hypotheses the search is exhaustive;
    a row's result does not depend on the other rows.

    Args:
        advance: (tokens [B * K, 1], cache=cache) -> (logits [B * K, 1, V], cache).
        make_cache: batch size -> a cache of that size, of which only the shapes are read: axes of a leaf whose size
            changes with it are the batch.
        cache: of B rows, before the start token.
        start_B: int32, the token that each row begins with.
        beams: K, static.
        slots: T, static.
        length: the largest number of new tokens, at most `slots`; one number or one for each row.
        stop: the token that ends a row; NO_STOP is none.
        penalty: 0 ranks by log-probability alone, 1 by its mean for each token.
    """
    batch = start_B.shape[0]
    length_B = jnp.broadcast_to(jnp.asarray(length, jnp.int32), (batch,))
    beam_cache = _BeamCache(advance, make_cache, cache, batch, beams)

    def one(now: _Search) -> _Search:
        last_BK = jnp.where(now.step == 0, start_B[:, None], now.tokens[:, :, now.step - 1])
        logits_RV, after = beam_cache.advance(last_BK.reshape(-1, 1), now.cache)
        log_p_BKV = jax.nn.log_softmax(logits_RV.astype(jnp.float32)).reshape(batch, beams, -1)
        grown, beam_BM = _grow(now, log_p_BKV, min(2, log_p_BKV.shape[-1]) * beams)
        ended_BM = grown.tokens[:, :, now.step] == stop
        first_BM = (jnp.arange(ended_BM.shape[1]) < beams)[None] & ~now.done[:, None]
        pool = _best(now.pool, _ranked(grown, ended_BM & first_BM, penalty))
        done_B = now.done | (jnp.isfinite(pool.scores).sum(1) >= beams)
        cut_B = ~done_B & (now.step + 1 >= length_B)
        on, chosen_BK = _pick(grown._replace(scores=jnp.where(ended_BM, -jnp.inf, grown.scores)), beams)
        pool = _best(pool, _ranked(on, cut_B[:, None], penalty))
        rows_R = (jnp.take_along_axis(beam_BM, chosen_BK, 1) + beams * jnp.arange(batch)[:, None]).reshape(-1)
        return _Search(now.step + 1, on.tokens, on.scores, pool, done_B | cut_B, beam_cache.reorder(after, rows_R))

    blank_BKT = jnp.zeros((batch, beams, slots), jnp.int32)
    none = Hypotheses(blank_BKT, jnp.full((batch, beams), -jnp.inf), jnp.zeros((batch, beams), jnp.int32))
    log_p_BK = none.scores.at[:, 0].set(0.0)  # at first all beams are the same
    begin = _Search(jnp.int32(0), blank_BKT, log_p_BK, none, length_B <= 0, beam_cache.begin)
    return jax.lax.while_loop(lambda now: ~now.done.all(), one, begin).pool


class _BeamCache:
    """The cache of all beams, in two parts: leaves that every step changes, and those that stay, such as the source's.

    Beams of one row have the same leaves that stay, so only the others move when beams do.
    """

    def __init__(self, advance: Advance, make_cache: Callable[[int], Any], cache: Any, batch: int, beams: int):
        small, large = (jax.tree.leaves(jax.eval_shape(lambda size=size: make_cache(size))) for size in (2, 3))
        self._axes = [_differing(a.shape, b.shape) for a, b in zip(small, large, strict=True)]
        leaves, self._tree = jax.tree.flatten(cache)
        pairs = zip(leaves, self._axes, strict=True)
        self._leaves = [x if axis is None else jnp.repeat(x, beams, axis) for x, axis in pairs]
        self._advance, self._moves = advance, [True] * len(leaves)

        def trace() -> Any:
            logits, after = self.advance(jnp.zeros((batch * beams, 1), jnp.int32), self._leaves)
            self._moves = [new is not old for new, old in zip(after, self._leaves, strict=True)]
            return logits

        jax.eval_shape(trace)
        self.begin = [x for x, moves in zip(self._leaves, self._moves, strict=True) if moves]

    def advance(self, tokens_R1: jax.Array, moving: list[jax.Array]) -> tuple[jax.Array, list[jax.Array]]:
        """Return the logits [R, V] after one more token, and all leaves of the new cache."""
        own = iter(moving)
        leaves = [next(own) if moves else x for x, moves in zip(self._leaves, self._moves, strict=True)]
        logits_R1V, after = self._advance(tokens_R1, cache=jax.tree.unflatten(self._tree, leaves))
        return logits_R1V[:, -1], jax.tree.leaves(after)

    def reorder(self, leaves: list[jax.Array], rows_R: jax.Array) -> list[jax.Array]:
        """Return the leaves that move, with row i taken from `rows_R[i]`."""
        triples = zip(leaves, self._axes, self._moves, strict=True)
        return [x if axis is None else jnp.take(x, rows_R, axis) for x, axis, moves in triples if moves]


def _differing(a: tuple[int, ...], b: tuple[int, ...]) -> int | None:
    return next((axis for axis, (x, y) in enumerate(zip(a, b, strict=True)) if x != y), None)


def _grow(now: _Search, log_p_BKV: jax.Array, count: int) -> tuple[Hypotheses, jax.Array]:
    """Return the `count` most probable hypotheses that are one token longer, and the beam that each comes from."""
    vocab = log_p_BKV.shape[-1]
    total_BN = (now.log_p[:, :, None] + log_p_BKV).reshape(log_p_BKV.shape[0], -1)
    best_BM, place_BM = jax.lax.top_k(total_BN, count)
    tokens_BMT = jnp.take_along_axis(now.tokens, (place_BM // vocab)[..., None], 1)
    tokens_BMT = tokens_BMT.at[:, :, now.step].set((place_BM % vocab).astype(jnp.int32))
    return Hypotheses(tokens_BMT, best_BM, jnp.full_like(place_BM, now.step + 1, jnp.int32)), place_BM // vocab


def _ranked(found: Hypotheses, kept: jax.Array, penalty: float | jax.Array) -> Hypotheses:
    """Return hypotheses with their log-probabilities turned into scores, -inf where they are not kept."""
    scores = found.scores / found.lengths.astype(jnp.float32) ** penalty
    return found._replace(scores=jnp.where(kept, scores, -jnp.inf))


def _best(pool: Hypotheses, more: Hypotheses) -> Hypotheses:
    """Return the best of two pools, as many as the first one has; ties favour the first."""
    joined = jax.tree.map(lambda a, b: jnp.concatenate([a, b], 1), pool, more)
    return _pick(joined, pool.scores.shape[1])[0]


def _pick(found: Hypotheses, count: int) -> tuple[Hypotheses, jax.Array]:
    """Return the `count` hypotheses of the highest scores, and their places."""
    scores, places_BK = jax.lax.top_k(found.scores, count)
    tokens = jnp.take_along_axis(found.tokens, places_BK[..., None], 1)
    return Hypotheses(tokens, scores, jnp.take_along_axis(found.lengths, places_BK, 1)), places_BK
