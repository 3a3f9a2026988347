"""Continuing text: prompts in, text out, of any length."""

from collections.abc import Sequence
from typing import Any, Protocol

import jax

from jaxlm.decode.generate import Decoder, generate
from jaxlm.errors import BadInput


class Codec(Protocol):
    """What turns text into tokens and back."""

    @property
    def separator(self) -> int | None:
        """The token between documents."""

    def frame(self) -> Any:
        """Its `before` are the tokens that stand before every text."""

    def encode(self, text: str) -> Any:
        """Tokens of a text."""

    def decode(self, ids: Any) -> str:
        """Text of tokens."""


def continue_text(
    model: Decoder,
    variables: Any,
    tokenizer: Codec,
    prompts: Sequence[str],
    key: jax.Array,
    *,
    length: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float = 1.0,
) -> list[str]:
    """Continue each prompt by `length` tokens, or to the end of its document, and return the new text alone.

    An empty prompt starts a new document. What does not fit into the model's context is forgotten: past it the text
    goes on, in pieces of half a context, from its last half context. Arguments and errors as for `generate`.
    """
    if length < 1:
        raise BadInput(f"length is {length}: ask for at least 1 new token")
    before = [*tokenizer.frame().before]
    beginning = before or ([] if tokenizer.separator is None else [tokenizer.separator])
    texts = [before + ids if (ids := tokenizer.encode(prompt).tolist()) else [*beginning] for prompt in prompts]
    sizes = [len(text) for text in texts]
    ended = [False] * len(texts)
    fits = max(sizes, default=0) + length <= model.context
    piece = length if fits else max(1, model.context // 2)
    for index, done in enumerate(range(0, length, piece)):
        count = min(piece, length - done)
        rows = generate(
            model,
            variables,
            [text[-(model.context - count) :] for text in texts],
            jax.random.fold_in(key, index),
            length=count,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            stop=tokenizer.separator,
        )
        for row, new in enumerate(rows):
            texts[row] += [] if ended[row] else new
            ended[row] |= len(new) < count
    return [_new_text(tokenizer, text, size) for text, size in zip(texts, sizes, strict=True)]


def _new_text(tokenizer: Codec, tokens: list[int], size: int) -> str:
    """The text of the tokens from `size` on; some tokenizers would drop a space from where a text begins."""
    old, whole = tokenizer.decode(tokens[:size]), tokenizer.decode(tokens)
    return whole[len(old) :] if whole.startswith(old) else tokenizer.decode(tokens[size:])
