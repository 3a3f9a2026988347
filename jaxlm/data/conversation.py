"""Conversations: messages read from JSON lines, put into a template, and turned into tokens that know the answers."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from jaxlm.data.tokenizers import AnyTokenizer
from jaxlm.errors import BadInput

ROLES = ("system", "user", "assistant")


class Marker(str):
    """A piece of a template that is one token where the tokenizer has one of that name, and else is spelt out."""


END = Marker("")  # the token that ends a document, or else a line


class Turn(NamedTuple):
    """What stands around the content of a message; `end` belongs to the answer, so that a model learns to stop."""

    before: tuple[str, ...]
    end: str
    after: tuple[str, ...] = ()


def chatml(role: str) -> Turn:
    """ChatML: <|im_start|>user, a line's end, the content, <|im_end|>."""
    return Turn((Marker("<|im_start|>"), f"{role}\n"), Marker("<|im_end|>"), ("\n",))


def llama3(role: str) -> Turn:
    """Llama 3: <|start_header_id|>user<|end_header_id|>, an empty line, the content, <|eot_id|>."""
    before = (Marker("<|start_header_id|>"), role, Marker("<|end_header_id|>"), "\n\n")
    return Turn(before, Marker("<|eot_id|>"))


def plain(role: str) -> Turn:
    """User: the content, and the end of a document. For tokenizers without markers of their own."""
    return Turn((f"{role.capitalize()}: ",), END)


TemplateName = Literal["chatml", "llama3", "plain"]
TEMPLATES: dict[str, Callable[[str], Turn]] = {"chatml": chatml, "llama3": llama3, "plain": plain}


@dataclass(frozen=True)
class Message:
    """Who says what."""

    role: str
    content: str


class Encoded(NamedTuple):
    """A conversation as tokens.

    ids: int32 [N].    answer: bool [N], which of them an answer is made of, the end of its turn included.
    """

    ids: np.ndarray
    answer: np.ndarray


def encode(
    messages: Sequence[Message], tokenizer: AnyTokenizer, template: TemplateName, *, opened: bool = False
) -> Encoded:
    """The tokens of a conversation, which begins with the tokenizer's bos where it has one.

    Every piece is encoded alone, so that the tokens of an answer are the same whatever stands before it, and a
    marker that is spelt out in a message is text. With `opened` a turn of the assistant is begun at the end: a prompt.
    """
    bos = tokenizer.special.bos
    parts = [] if bos is None else [(np.array([bos], np.int32), False)]
    turn_of = TEMPLATES[template]

    def add(piece: str, answer: bool) -> None:
        parts.append((_ids(piece, tokenizer), answer))

    for message in messages:
        turn, answer = turn_of(message.role), message.role == "assistant"
        for piece in turn.before:
            add(piece, False)
        add(message.content, answer)
        add(turn.end, answer)
        for piece in turn.after:
            add(piece, False)
    for piece in turn_of("assistant").before if opened else ():
        add(piece, False)
    ids = np.concatenate([part for part, _ in parts])
    return Encoded(ids, np.repeat([answer for _, answer in parts], [len(part) for part, _ in parts]))


def _ids(piece: str, tokenizer: AnyTokenizer) -> np.ndarray:
    if piece is END:
        return tokenizer.encode("\n") if tokenizer.separator is None else np.array([tokenizer.separator], np.int32)
    index = tokenizer.token(piece) if isinstance(piece, Marker) else None
    return tokenizer.encode(piece) if index is None else np.array([index], np.int32)


class Line(NamedTuple):
    """One JSON object of a file, and where it stands."""

    place: str
    fields: dict[str, Any]


def read_lines(path: str) -> Iterator[Line]:
    """The JSON objects of a file, one a line; empty lines are passed over.

    Raises:
        BadInput: no such file, or a line that is no JSON object; the file and the line are named.
    """
    try:
        text = Path(path).expanduser().read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise BadInput(f"{path} is not UTF-8 text: {error.reason} at byte {error.start}") from None
    except OSError as error:
        raise BadInput(f"{path} cannot be read ({error.strerror}): give a file of JSON lines") from None
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                fields = json.loads(line)
            except ValueError as error:
                raise BadInput(f"{path}, line {number} is not JSON: {error}") from None
            if not isinstance(fields, dict):
                raise BadInput(f"{path}, line {number} is no JSON object: write one, as {{...}}, on each line")
            yield Line(f"{path}, line {number}", fields)


def read_messages(line: Line) -> list[Message]:
    """The messages of a line {"messages": [{"role": "user", "content": "..."}, ...]}.

    Raises:
        BadInput: no messages, another role, or no text; the file and the line are named.
    """
    messages = line.fields.get("messages")
    if not isinstance(messages, list) or not messages:
        raise BadInput(
            f'{line.place} has no messages: write {{"messages": [{{"role": "user", "content": "..."}}, ...]}}'
        )
    found = []
    for number, message in enumerate(messages, start=1):
        fields = message if isinstance(message, dict) else {}
        role, content = fields.get("role"), fields.get("content")
        if role not in ROLES:
            raise BadInput(f"{line.place}: message {number} has the role {role!r}: take one of {', '.join(ROLES)}")
        if not isinstance(content, str) or not content.strip():
            raise BadInput(f"{line.place}: message {number} has no text in its content: give some or leave it out")
        found.append(Message(role, content))
    return found
