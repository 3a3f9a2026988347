"""Call the `tokenizers` library so that all it cannot do is a `BadInput`, panics of its Rust code included."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

from jaxlm.errors import BadInput, one_line

LARGEST = 1 << 24  # ids; real vocabularies have up to a million
# Texts on which a regular expression that looks back and back again gives up.
HARD = ("a" * 64 + "!", " " * 64 + "x", "1" * 64 + "a", "'" * 64 + "\n")


@lru_cache(maxsize=8)
def build_inner(model: str) -> Any:
    """Return the tokenizer of a `tokenizer.json`, which must not be changed.

    Truncation and padding are turned off, and names of special tokens inside a text are plain text.

    Args:
        model: the text of the file.

    Raises:
        BadInput: it is not a tokenizer, an id is out of range, or its regular expressions cannot be searched with.
    """
    from tokenizers import Tokenizer

    with quiet_panics():
        try:
            inner = call_library(Tokenizer.from_str, model)
        except BadInput as error:
            raise BadInput(f"not a tokenizer.json: {error}") from None
        inner.encode_special_tokens = True
        inner.no_truncation()
        inner.no_padding()
        largest = max(inner.get_vocab(with_added_tokens=True).values(), default=-1)
        if not 0 <= largest < LARGEST:
            what = "has no tokens" if largest < 0 else f"has the id {largest:,}, past {LARGEST:,}"
            raise BadInput(f"the tokenizer {what}: number the tokens from 0 on")
        for text in HARD if '"Regex"' in model else ():
            call_library(inner.encode, text)
    return inner


def call_library(function: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Call a function of the library.

    Raises:
        BadInput: it raises an exception or panics; names a text with half of a surrogate pair.
    """
    try:
        return function(*args, **options)
    except BaseException as error:  # the library raises bare Exception, and its panics are not even that
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        if half := next(filter(None, map(_half, _texts(args))), None):
            raise BadInput(f"{half!r} is half of a surrogate pair and no character: take it out") from None
        reason = one_line(error).partition(": ")[2] or one_line(error)
        raise BadInput(f"the tokenizers library gives up ({reason}): take another tokenizer, or other text") from None


def _texts(values: Any) -> Iterator[str]:
    for value in values:
        if isinstance(value, str):
            yield value
        elif isinstance(value, list):
            yield from _texts(value)


def _half(text: str) -> str | None:
    """Return the first half of a surrogate pair in a text."""
    return next((character for character in text if "\ud800" <= character <= "\udfff"), None)


@contextlib.contextmanager
def quiet_panics() -> Iterator[None]:
    """Discard what Rust writes to the standard error when it panics; Python gets the panic as an exception."""
    try:
        sys.stderr.flush()
        kept, sink = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    except (OSError, ValueError, AttributeError):  # there is no standard error
        yield
        return
    os.dup2(sink, 2)
    os.close(sink)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
