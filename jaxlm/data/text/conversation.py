"""Conversations: read messages from JSON lines, apply a chat template, and encode them with a mask of the answers."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from jaxlm.data.readers.records import read_json_lines
from jaxlm.data.readers.text import read_text
from jaxlm.data.tokenizers.specs import AnyTokenizer
from jaxlm.errors import BadInput

ROLES = ("system", "user", "assistant")


class Marker(str):
    """A piece of a template that is one token where the tokenizer has a special token of that name; else plain text."""


END = Marker("")  # the token that ends a document; a line break where there is no such token


class Turn(NamedTuple):
    """The text around the content of a message.

    Attributes:
        before: pieces before the content.
        end: the piece after it; it counts as part of an answer, so that a model learns to stop.
        after: pieces after `end`.
    """

    before: tuple[str, ...]
    end: str
    after: tuple[str, ...] = ()


def chatml(role: str) -> Turn:
    """Return ChatML: <|im_start|>user, a line break, the content, <|im_end|>, a line break."""
    return Turn((Marker("<|im_start|>"), f"{role}\n"), Marker("<|im_end|>"), ("\n",))


def llama3(role: str) -> Turn:
    """Return Llama 3's: <|start_header_id|>user<|end_header_id|>, an empty line, the content, <|eot_id|>."""
    before = (Marker("<|start_header_id|>"), role, Marker("<|end_header_id|>"), "\n\n")
    return Turn(before, Marker("<|eot_id|>"))


def plain(role: str) -> Turn:
    """Return "User: ", the content, and the end of a document; for tokenizers without special tokens for turns."""
    return Turn((f"{role.capitalize()}: ",), END)


TemplateName = Literal["chatml", "llama3", "plain"]
TEMPLATES: dict[str, Callable[[str], Turn]] = {"chatml": chatml, "llama3": llama3, "plain": plain}


@dataclass(frozen=True)
class Message:
    """A message of a conversation.

    Attributes:
        role: "system", "user" or "assistant".
        content: the text.
    """

    role: str
    content: str


class Encoded(NamedTuple):
    """A conversation as tokens.

    Attributes:
        ids: int32 [N].
        answer: bool [N], True on the tokens of answers, the end of their turns included.
    """

    ids: np.ndarray
    answer: np.ndarray


def encode(
    messages: Sequence[Message], tokenizer: AnyTokenizer, template: TemplateName, *, opened: bool = False
) -> Encoded:
    """Encode a conversation; it begins with the bos token where the tokenizer has one.

    Every piece is encoded on its own, so that the tokens of an answer do not depend on what precedes it, and the name
    of a special token inside a message is plain text.

    Args:
        messages: of the conversation.
        tokenizer: encodes the pieces.
        template: "chatml", "llama3" or "plain".
        opened: whether the beginning of an assistant's turn is added at the end, which makes a prompt.
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


def end_of_turn(tokenizer: AnyTokenizer, template: TemplateName) -> list[int]:
    """Return the tokens that end an answer: one, or several where a marker is spelt out."""
    return _ids(TEMPLATES[template]("assistant").end, tokenizer).tolist()


class Line(NamedTuple):
    """A JSON object of a file.

    Attributes:
        place: file and line, for a message.
        fields: the object.
    """

    place: str
    fields: dict[str, Any]


def read_lines(path: str) -> Iterator[Line]:
    """Yield the JSON objects of a file, one a line; empty lines are skipped.

    Raises:
        BadInput: the file cannot be read, or a line is not a JSON object; names file and line.
    """
    file = Path(path).expanduser()
    for number, fields in read_json_lines(file, read_text(file)):
        yield Line(f"{file} line {number}", fields)


def read_messages(line: Line) -> list[Message]:
    """Read the messages of a line {"messages": [{"role": "user", "content": "..."}, ...]}.

    Raises:
        BadInput: no messages, another role, or a message without text; names file and line.
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
