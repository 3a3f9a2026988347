"""Sampling continuations of prompts with a key-value cache, in one compiled program.

B batch, P padded prompt, T new tokens, V vocabulary.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from jaxlm.decode.sampling import sample_tokens
from jaxlm.errors import BadInput
from jaxlm.steps import Model

NO_STOP = -1


class Decoder(Model, Protocol):
    """A hashable language model with a functional cache.

    Its `apply` takes (variables, tokens [B, T], cache=cache) and returns (logits [B, T, V], cache).
    """

    @property
    def vocab(self) -> int:
        """The number of tokens."""

    @property
    def context(self) -> int:
        """The longest sequence."""

    @property
    def init_cache(self) -> Any:
        """(batch, slots, dtype, start [B]) -> a pytree of arrays; row b is padded on the left by start[b] slots."""


def generate(
    model: Decoder,
    variables: Any,
    prompts: Sequence[Sequence[int]],
    key: jax.Array,
    *,
    length: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float = 1.0,
    stop: int | None = None,
    numbers: Sequence[int] | None = None,
) -> list[list[int]]:
    """Sample a continuation of each prompt, up to `length` tokens, and return the new tokens alone.

    The randomness of a row is a function of (key, its number, step): neither other prompts nor padding change it. One
    program is compiled for each batch size, `top_k`, and power of two of the lengths of prompts and new tokens.

    Args:
        model: has `apply` and `init_cache`, as `jaxlm.models.gpt.GPT` does.
        variables: the model's variables, {"params": ...}.
        prompts: token lists, of any lengths.
        key: a typed random key.
        length: the largest number of new tokens.
        temperature: 0 for greedy.
        top_k: sample among the k most probable tokens; None for all.
        top_p: sample among the most probable tokens that have this mass.
        stop: a token that ends its row; it is not returned.
        numbers: of the rows; None: 0, 1, ...

    Returns:
        The new tokens of each prompt.

    Raises:
        BadInput: no prompts, an empty prompt, tokens outside the vocabulary, numbers out of their range, or a prompt
            that exceeds the model's context together with `length` new tokens.
    """
    _check(model, prompts, length, temperature, top_k, top_p)
    width = min(power_of_two(max(map(len, prompts))), model.context)
    tokens_BP = np.zeros((len(prompts), width), np.int32)
    for row, prompt in enumerate(prompts):
        tokens_BP[row, width - len(prompt) :] = prompt
    start_B = np.array([width - len(prompt) for prompt in prompts], np.int32)
    new_BT = _continue(
        model,
        variables,
        tokens_BP,
        start_B,
        jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(len(prompts)) if numbers is None else jnp.array(numbers)),
        length,
        temperature,
        top_p,
        NO_STOP if stop is None else stop,
        slots=power_of_two(length),
        top_k=top_k,
    )
    return [until(row, stop) for row in np.asarray(new_BT)[:, :length].tolist()]


def continue_rows(
    model: Decoder,
    variables: Any,
    tokens_BP: jax.Array,
    start_B: jax.Array,
    keys_B: jax.Array,
    length: int | jax.Array,
    temperature: float | jax.Array,
    top_p: float | jax.Array,
    stop: int | jax.Array,
    *,
    slots: int,
    top_k: int | None = None,
) -> jax.Array:
    """Prefill the cache with all but the last prompt token, then feed one token at a time; a pure function.

    Args:
        model: see `generate`.
        variables: its variables.
        tokens_BP: prompts, int32 [B, P], padded on the left.
        start_B: how many places of each row are padding, int32 [B].
        keys_B: a typed random key for each row.
        length: new tokens, at most `slots`; one number or one for each row, [B]. A row of length 0 has none.
        temperature: one number or one for each row, [B].
        top_p: as `temperature`.
        stop: a token that ends its row, or NO_STOP.
        slots: room for new tokens, static.
        top_k: static.

    Returns:
        New tokens, int32 [B, slots]; what follows a row's end has no meaning.
    """
    batch, width = tokens_BP.shape
    dtype = jnp.result_type(*jax.tree.leaves(variables["params"]))
    cache = model.init_cache(batch, width + slots, dtype, start_B)
    if width > 1:  # the prefill's logits are not used, so that XLA drops the whole read-out
        _, cache = model.apply(variables, tokens_BP[:, :-1], cache=cache)

    def choose(logits_BV: jax.Array, step: jax.Array) -> jax.Array:
        step_keys_B = jax.vmap(jax.random.fold_in, (0, None))(keys_B, step)
        return sample_tokens(logits_BV, step_keys_B, temperature=temperature, top_k=top_k, top_p=top_p)

    return extend(partial(model.apply, variables), cache, tokens_BP[:, -1], choose, length, stop, slots)


_continue = jax.jit(continue_rows, static_argnames=("model", "slots", "top_k"))


def extend(
    advance: Callable[..., tuple[jax.Array, Any]],
    cache: Any,
    token_B: jax.Array,
    choose: Callable[[jax.Array, jax.Array], jax.Array],
    length: int | jax.Array,
    stop: int | jax.Array,
    slots: int,
) -> jax.Array:
    """Decode one token at a time until `length` or until every row has stopped, inside jit.

    Args:
        advance: (tokens [B, 1], cache=cache) -> (logits [B, 1, V], cache).
        cache: the model's cache of all tokens before `token_B`.
        token_B: the last token of each row so far.
        choose: (logits [B, V], step) -> the next token of each row, int32 [B].
        length: number of new tokens, at most `slots`; one number or one for each row, [B].
        stop: the token that ends a row, which is kept; tokens after it are meaningless. NO_STOP is none.
        slots: room for new tokens.

    Returns:
        The new tokens, int32 [B, slots].
    """
    length_B = jnp.broadcast_to(jnp.asarray(length, jnp.int32), token_B.shape)

    def unfinished(carry):
        return ~carry[-1].all()

    def one(carry):
        step, token_B, cache, new_BT, done_B = carry
        logits_BTV, cache = advance(token_B[:, None], cache=cache)
        token_B = choose(logits_BTV[:, -1], step)
        new_BT = jax.lax.dynamic_update_slice(new_BT, token_B[:, None], (jnp.int32(0), step))
        return step + 1, token_B, cache, new_BT, done_B | (token_B == stop) | (step + 1 >= length_B)

    batch = token_B.shape[0]  # len() refuses a symbolic one
    blank_BT = jnp.full((batch, slots), stop, jnp.int32)
    carry = (jnp.int32(0), token_B, cache, blank_BT, length_B <= 0)
    return jax.lax.while_loop(unfinished, one, carry)[3]


def _check(
    model: Decoder,
    prompts: Sequence[Sequence[int]],
    length: int,
    temperature: float,
    top_k: int | None,
    top_p: float,
) -> None:
    if not prompts:
        raise BadInput("no prompts to continue: give at least one")
    for row, prompt in enumerate(prompts):
        if not len(prompt):
            raise BadInput(f"prompt {row} is empty: give at least one token")
        if not 0 <= min(prompt) <= max(prompt) < model.vocab:
            raise BadInput(f"prompt {row} holds a token outside of 0 .. {model.vocab - 1}: encode it for this model")
        if len(prompt) + length > model.context:
            raise BadInput(
                f"prompt {row} has {len(prompt)} tokens, and {length} new ones exceed the model's context of "
                f"{model.context}: shorten the prompt or ask for at most {model.context - len(prompt)}"
            )
    check_sampling(length, temperature, top_k, top_p)


def check_sampling(length: int, temperature: float, top_k: int | None, top_p: float) -> None:
    """Raise BadInput for numbers that are out of their range."""
    if length < 1:
        raise BadInput(f"length is {length}: ask for at least 1 new token")
    if not 0 <= temperature < float("inf"):
        raise BadInput(f"temperature is {temperature}: it must be a number of at least 0 (0 is greedy)")
    if top_k is not None and top_k < 1:
        raise BadInput(f"top_k is {top_k}: it must be at least 1, or left out to keep all tokens")
    if not 0 < top_p <= 1:
        raise BadInput(f"top_p is {top_p}: it must be more than 0 and at most 1")


def power_of_two(at_least: int) -> int:
    """Round up to a power of two, so that few programs are compiled."""
    return 1 << (at_least - 1).bit_length()


def until(tokens: list[int], stop: int | None) -> list[int]:
    """Return the tokens before the first stop."""
    return tokens[: tokens.index(stop)] if stop in tokens else tokens
