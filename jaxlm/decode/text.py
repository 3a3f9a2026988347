"""Text generation: prompts in, text out, of any length."""

from collections.abc import Sequence
from typing import Any, Protocol

import jax

from jaxlm.decode.generate import Decoder, generate
from jaxlm.errors import BadInput


class Codec(Protocol):
    """A tokenizer: text to tokens and back."""

    @property
    def separator(self) -> int | None:
        """The token between documents."""

    def frame(self) -> Any:
        """Return an object whose `before` has the tokens that come before every text."""

    def encode(self, text: str) -> Any:
        """Encode a text into tokens."""

    def decode(self, ids: Any) -> str:
        """Decode tokens into text."""


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
    """Generate a continuation of each prompt and return the new text alone: `length` tokens, or to the document's end.

    An empty prompt starts a new document. Text that does not fit into the model's context is dropped from the left:
    past it the text is continued, in pieces of half a context, from its last half context. Arguments and errors are
    those of `generate`.

    Law: a text depends on its own prompt and the number of its row alone.
    """
    if length < 1:
        raise BadInput(f"length is {length}: ask for at least 1 new token")
    if not prompts:
        raise BadInput("no prompts to continue: give at least one")
    texts = [prompt_tokens(tokenizer, prompt) for prompt in prompts]
    sizes = [len(text) for text in texts]
    within = [size + length <= model.context for size in sizes]
    for fits in sorted(set(within)):
        rows = [row for row, found in enumerate(within) if found == fits]
        ended = set[int]()
        piece = length if fits else max(1, model.context // 2)
        for index, done in enumerate(range(0, length, piece)):
            count = min(piece, length - done)
            added = generate(
                model,
                variables,
                [texts[row][-(model.context - count) :] for row in rows],
                jax.random.fold_in(key, index),
                length=count,
                temperature=temperature,
                top_k=top_k,
                top_p=top_p,
                stop=tokenizer.separator,
                numbers=rows,
            )
            for row, new in zip(rows, added, strict=True):
                texts[row] += [] if row in ended else new
                ended |= {row} if len(new) < count else set()
    return [new_text(tokenizer, text, size) for text, size in zip(texts, sizes, strict=True)]


def prompt_tokens(tokenizer: Codec, prompt: str) -> list[int]:
    """Return the tokens that a prompt is continued from; an empty prompt is the token that begins a document.

    They are none where the prompt is empty and the tokenizer has no such token.
    """
    before = [*tokenizer.frame().before]
    if ids := tokenizer.encode(prompt).tolist():
        return before + ids
    return before or ([] if tokenizer.separator is None else [tokenizer.separator])


def new_text(tokenizer: Codec, tokens: list[int], size: int) -> str:
    """Return the text of the tokens from `size` on; some tokenizers would drop a space where a text begins."""
    old, whole = tokenizer.decode(tokens[:size]), tokenizer.decode(tokens)
    return whole[len(old) :] if whole.startswith(old) else tokenizer.decode(tokens[size:])
