"""Inputs that clients sent with their feedback, brought into one form for each kind, or refused."""

from collections.abc import Callable
from typing import Any

from jaxlm.data.text.conversation import Line, read_messages
from jaxlm.errors import BadInput
from jaxlm.predict.answers import question_and_context
from jaxlm.serve.form import read_as


def read_input(kind: str, value: Any) -> Any:
    """Return the raw input of JSON that a client sent, as a data set of its kind takes it.

    Args:
        kind: of the model's inputs, see `Form`.
        value: JSON.

    Returns:
        Bytes of an image or a recording, two texts of a pair or a question, messages of a conversation, and what else
        was given.

    Raises:
        BadInput: no model of this kind reads it; it may name a file, which is never opened.
    """
    found = read_as(kind, value)
    return FORMS[kind](found) if kind in FORMS else found


def _text(given: Any) -> Any:
    """Return a text, a list of words, or an object with one of them as "text"."""
    whole = given.get("text") if isinstance(given, dict) else given
    words = isinstance(whole, list) and bool(whole) and all(isinstance(word, str) for word in whole)
    if not isinstance(whole, str) and not words:
        raise BadInput("the input is not a text: give one")
    return given


def _prompt(given: Any) -> str:
    if not isinstance(given, str):
        raise BadInput("the input is not a text: give one")
    return given


def _pair(given: Any) -> list[str]:
    if not isinstance(given, list) or len(given) != 2 or not all(isinstance(text, str) for text in given):
        raise BadInput("the input is not a pair of texts: give [first, second]")
    return given


def _row(given: Any) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise BadInput("the input is not a row: give an object of cells by the names of their columns")
    return given


def _messages(given: Any) -> list[dict[str, str]]:
    if isinstance(given, str) and given.strip():
        given = [{"role": "user", "content": given}]
    fields = given if isinstance(given, dict) else {"messages": given}
    return [{"role": one.role, "content": one.content} for one in read_messages(Line("the input", fields))]


FORMS: dict[str, Callable[[Any], Any]] = {
    "text": _text,
    "prompt": _prompt,
    "pair": _pair,
    "row": _row,
    "question": question_and_context,
    "chat": _messages,
}
