"""Data for tuning on instructions and on preferences: conversations from JSON lines.

Legend: B rows, T tokens in a row, N conversations or pairs.
"""

import dataclasses
import os
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np

from jaxlm.data.arrays import Table
from jaxlm.data.conversation import Encoded, Line, Message, TemplateName, encode, read_lines, read_messages
from jaxlm.data.order import InOrder, Shuffled, Source
from jaxlm.data.packing import Packed
from jaxlm.data.protocol import digest
from jaxlm.data.tokenizers import BPE, AnyTokenizer, Bytes, Characters, Pretrained, check_vocabulary
from jaxlm.data.windows import Stream
from jaxlm.errors import BadInput


@dataclass(frozen=True, kw_only=True)
class Conversations:
    """Spec: what both kinds of conversations share.

    Attributes:
        path: training conversations, a file of JSON lines.
        eval_path: those for evaluation.
        tokenizer: `Pretrained(folder)`, `BPE(path)`, `Bytes()` or `Characters()`.
        template: "chatml", "llama3" or "plain" (see `jaxlm.data.conversation`); a template in a tokenizer_config.json
            is not read.
        batch: rows in a training batch.
        length: tokens in a row.
        eval_batch: rows in an evaluation batch; None: as in training.
        overlong: what happens to a conversation that does not fit into a row: "refuse" the file, "cut" the end off, or
            "skip" the conversation.
    """

    path: str = "train.jsonl"
    eval_path: str = "eval.jsonl"
    tokenizer: Bytes | Characters | BPE | Pretrained = field(default_factory=Bytes)
    template: TemplateName = "chatml"
    batch: int = 16
    length: int = 256
    eval_batch: int | None = None
    overlong: Literal["refuse", "cut", "skip"] = "refuse"

    def source(self, path: str) -> Source:
        """Return the rows of a file."""
        raise NotImplementedError

    def texts(self, path: str) -> Iterable[str]:
        """Return the texts of a file, for a tokenizer that is made from them."""
        raise NotImplementedError

    def train(self, seed: int = 0) -> Shuffled:
        """Return the training batches.

        Raises:
            BadInput: a line that cannot be used, which is named with its file, or fewer rows than a batch.
        """
        return Shuffled(self._read(self.path), self.batch, seed)

    def eval(self) -> InOrder:
        """Return the evaluation batches: every row exactly once.

        Raises:
            BadInput: a line that cannot be used, which is named with its file.
        """
        return InOrder(self._read(self.eval_path), self.batch if self.eval_batch is None else self.eval_batch)

    def example(self) -> np.ndarray:
        """Return what a model is initialised with; int32 zeros [1, length]."""
        return np.zeros((1, self.length), np.int32)

    def build_tokenizer(self) -> AnyTokenizer:
        """Return the tokenizer."""
        return _tokenizer(self, _signature(self.path))

    def check(self, context: int, vocab: int) -> None:
        """Raise BadInput unless this can train a model of that context and vocabulary; writes nothing."""
        if self.length > context:
            raise BadInput(
                f"rows of {self.length} tokens (data.length) are longer than the model's context of {context}: "
                "lower the one or raise the other"
            )
        check_vocabulary(self.build_tokenizer(), vocab)
        self.train()
        self.eval()

    def encoded(self, messages: list[Message], place: str) -> Encoded | None:
        """Return a conversation as at most `length` + 1 tokens (each but the first is a target), or None to skip it."""
        found = encode(messages, self.build_tokenizer(), self.template)
        if len(found.ids) <= self.length + 1 or self.overlong == "cut":
            return Encoded(*(part[: self.length + 1] for part in found))
        if self.overlong == "skip":
            return None
        raise BadInput(
            f"{place} is {len(found.ids)} tokens long and a row holds {self.length + 1}: raise data.length, or set "
            "data.overlong to cut or skip"
        )

    def _read(self, path: str) -> Source:
        return _read(dataclasses.replace(self, batch=1, eval_batch=None), path, _signature(path))


@dataclass(frozen=True, kw_only=True)
class Chat(Conversations):
    """Spec: {"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}, ...]} a line.

    Batches are those of `Packed`, with a "mask" of 1 on the tokens of answers alone, each with the end of its turn.

    Attributes:
        pack: whether a row holds several conversations, apart by "segments"; else one.
    """

    pack: bool = True

    def source(self, path: str) -> Packed:
        """Return the conversations of a file as rows."""
        found = []
        for line in read_lines(path):
            messages = read_messages(line)
            if all(message.role != "assistant" for message in messages):
                raise BadInput(f"{line.place} has no message of the assistant, and so nothing to learn: add one")
            if (conversation := self.encoded(messages, line.place)) is not None:
                found.append(conversation)
        if not found:
            raise BadInput(f"{path} has no conversations left: give some that fit into {self.length + 1} tokens")
        ids, answer = (np.concatenate(parts) for parts in zip(*found, strict=True))
        starts = np.cumsum([0, *(len(conversation.ids) for conversation in found)])[:-1]
        return Packed(Stream(ids, starts, _digest(ids, answer, starts), answer), self.length, self.pack)

    def texts(self, path: str) -> Iterable[str]:
        """Return the content of every message."""
        return (message.content for line in read_lines(path) for message in read_messages(line))


class Pair(NamedTuple):
    """Two answers to one prompt, of which one is better."""

    prompt: list[Message]
    chosen: Message
    rejected: Message


@dataclass(frozen=True, kw_only=True)
class Preferences(Conversations):
    """Spec: {"messages": [...] up to a question, "chosen": "the better answer", "rejected": "the worse one"} a line.

    Batches: "tokens", "targets", "segments" (1, or 0 for padding) int32 [B, 2, T] and "mask" float32 [B, 2, T], 1 on
    the tokens of the answer: first of the chosen one, then of the rejected one, each after the prompt.
    """

    def source(self, path: str) -> Table:
        """Return the pairs of a file as rows."""
        rows = []
        for line in read_lines(path):
            pair = read_pair(line)
            begins = len(encode(pair.prompt, self.build_tokenizer(), self.template, opened=True).ids)
            both = [self.encoded([*pair.prompt, answer], line.place) for answer in (pair.chosen, pair.rejected)]
            kept = [self._row(one, begins) for one in both if one is not None]
            if len(kept) == 2:
                rows.append({name: np.stack([one[name] for one in kept]) for name in kept[0]})
        if not rows:
            raise BadInput(f"{path} has no pairs left: give some that fit into {self.length + 1} tokens")
        return Table({name: np.stack([row[name] for row in rows]) for name in rows[0]})

    def texts(self, path: str) -> Iterable[str]:
        """Return the content of every message and answer."""
        pairs = (read_pair(line) for line in read_lines(path))
        return (message.content for pair in pairs for message in (*pair.prompt, pair.chosen, pair.rejected))

    def _row(self, one: Encoded, begins: int) -> dict[str, np.ndarray]:
        """Return an answer after its prompt, padded; answers within the prompt do not count."""
        last = one.answer & (np.arange(len(one.ids)) >= begins)

        def padded(values: np.ndarray, dtype: type) -> np.ndarray:
            return np.pad(values.astype(dtype), (0, self.length - len(values)))

        return {
            "tokens": padded(one.ids[:-1], np.int32),
            "targets": padded(one.ids[1:], np.int32),
            "segments": padded(np.ones(len(one.ids) - 1), np.int32),
            "mask": padded(last[1:], np.float32),
        }


def read_pair(line: Line) -> Pair:
    """The prompt and both answers of a line.

    Raises:
        BadInput: a prompt that does not end with the user, or an answer that is no text; file and line are named.
    """
    prompt = read_messages(line)
    if prompt[-1].role != "user":
        raise BadInput(f"{line.place}: the messages end with the {prompt[-1].role}: end them with the user's question")
    answers = []
    for name in ("chosen", "rejected"):
        text = line.fields.get(name)
        if not isinstance(text, str) or not text.strip():
            raise BadInput(f'{line.place} has no text under "{name}": give both answers, "chosen" and "rejected"')
        answers.append(Message("assistant", text))
    return Pair(prompt, *answers)


def _signature(path: str) -> Hashable:
    """What changes when a file changes."""
    try:
        status = os.stat(os.path.expanduser(path))
    except OSError as error:
        raise BadInput(f"{path} cannot be read ({error.strerror}): give a file of JSON lines") from None
    return path, status.st_size, status.st_mtime_ns


@lru_cache(maxsize=8)
def _read(spec: Conversations, path: str, signature: Hashable) -> Source:
    """Return the rows of a file, read once a process."""
    del signature
    return spec.source(path)


@lru_cache(maxsize=8)
def _tokenizer(spec: Conversations, signature: Hashable) -> AnyTokenizer:
    """Return the tokenizer of a spec, read once a process."""
    del signature
    return spec.tokenizer.build(spec.texts(spec.path))


def _digest(*arrays: np.ndarray) -> str:
    return digest(
        "conversations", Table({str(i): x for i, x in enumerate(arrays[:2])}).fingerprint(), arrays[2].tolist()
    )
