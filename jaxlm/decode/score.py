"""Log-probabilities of given continuations.

B batch, T tokens, V vocabulary.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from jaxlm.decode.generate import power_of_two
from jaxlm.errors import BadInput
from jaxlm.steps import Model

TokenPair = tuple[Sequence[int], Sequence[int]]  # context, continuation


class Scorer(Model, Protocol):
    """A hashable causal language model: its `apply` takes (variables, tokens [B, T]) and returns logits [B, T, V]."""

    @property
    def vocab(self) -> int:
        """The number of tokens."""

    @property
    def context(self) -> int:
        """The longest sequence."""


def score(model: Scorer, variables: Any, pairs: Sequence[TokenPair], *, batch: int = 8) -> list[tuple[float, bool]]:
    """Compute the log-probability of each continuation after its context, and whether greedy decoding would give it.

    Rows of similar lengths share a batch, padded on the right to a power of two, which does not affect a causal model.
    One program is compiled for each such width.

    Args:
        model: has `apply`, as `jaxlm.models.gpt.GPT` does.
        variables: the model's variables, {"params": ...}.
        pairs: (context, continuation), lists of tokens. The beginning of a context that is too long is cut off.
        batch: number of rows at a time; their logits [B, T, V] in float32 must fit into memory.

    Returns:
        For each pair the log-probability in nats and whether the continuation is greedy.

    Raises:
        BadInput: an empty context or continuation, a token outside the vocabulary, or a continuation that is longer
            than the model's context.
    """
    _check(model, pairs)
    rows = [[*context, *continuation][-(model.context + 1) :] for context, continuation in pairs]
    order = sorted(range(len(rows)), key=lambda number: len(rows[number]))
    found: dict[int, tuple[float, bool]] = {}
    for first in range(0, len(order), batch):
        chosen = order[first : first + batch]
        inputs = _lay_out(
            [rows[number] for number in chosen], [len(pairs[number][1]) for number in chosen], model, batch
        )
        total_B, greedy_B = map(np.asarray, _score(model, variables, *inputs))
        found |= {number: (float(total_B[at]), bool(greedy_B[at])) for at, number in enumerate(chosen)}
    return [found[number] for number in range(len(rows))]


def _lay_out(
    rows: Sequence[Sequence[int]], scored: Sequence[int], model: Scorer, batch: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return tokens, targets and which targets count, each [batch, T]; missing rows count nothing."""
    width = min(power_of_two(max(map(len, rows)) - 1), model.context)
    tokens_BT, targets_BT = np.zeros((2, batch, width), np.int32)
    mask_BT = np.zeros((batch, width), bool)
    for at, (row, count) in enumerate(zip(rows, scored, strict=True)):
        size = len(row) - 1
        tokens_BT[at, :size], targets_BT[at, :size] = row[:-1], row[1:]
        mask_BT[at, size - count : size] = True
    return tokens_BT, targets_BT, mask_BT


@partial(jax.jit, static_argnames="model")
def _score(model, variables, tokens_BT, targets_BT, mask_BT):
    """Sum the log-probabilities of the targets that count, and test whether all are the most probable; [B] each."""
    logits_BTV = model.apply(variables, tokens_BT).astype(jnp.float32)
    target_BT = jnp.take_along_axis(logits_BTV, targets_BT[..., None], -1)[..., 0]
    log_p_BT = target_BT - jax.nn.logsumexp(logits_BTV, -1)
    greedy_BT = logits_BTV.argmax(-1) == targets_BT
    return jnp.where(mask_BT, log_p_BT, 0).sum(-1), (greedy_BT | ~mask_BT).all(-1)


def _check(model: Scorer, pairs: Sequence[TokenPair]) -> None:
    for number, (context, continuation) in enumerate(pairs):
        if not len(context) or not len(continuation):
            raise BadInput(f"pair {number} has no context or no continuation: give at least one token of each")
        if not 0 <= min(*context, *continuation) <= max(*context, *continuation) < model.vocab:
            raise BadInput(f"pair {number} holds a token outside of 0 .. {model.vocab - 1}: encode it for this model")
        if len(continuation) > model.context:
            raise BadInput(
                f"the continuation of pair {number} has {len(continuation)} tokens, more than the model's context of "
                f"{model.context}: score it in parts"
            )
