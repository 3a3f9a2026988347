"""Conversations from JSON lines, for instruction tuning (`Chat`) and preference tuning (`Preferences`).

Legend: B rows, T tokens in a row, N conversations or pairs.
"""

import dataclasses
import os
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import numpy as np

from jaxlm.data.arrays import ArraySource
from jaxlm.data.model_checks import check_tokens
from jaxlm.data.order import InOrder, RowSource, Shuffled
from jaxlm.data.protocol import json_sha256, summary_line
from jaxlm.data.text.conversation import Encoded, Line, Message, TemplateName, encode, read_lines, read_messages
from jaxlm.data.text.packing import Packed
from jaxlm.data.text.windows import Stream
from jaxlm.data.tokenizers.specs import BPE, AnyTokenizer, Bytes, Characters, Pretrained
from jaxlm.errors import BadInput


@dataclass(frozen=True, kw_only=True)
class Conversations:
    """Spec: what `Chat` and `Preferences` share.

    Attributes:
        path: training conversations, a file of JSON lines.
        eval_path: those for evaluation.
        tokenizer: `Pretrained(folder)`, `BPE(path)`, `Bytes()` or `Characters()`.
        template: how messages become text: "chatml", "llama3" or "plain" (see `jaxlm.data.text.conversation`). A
            template in a tokenizer_config.json is not read.
        batch: rows in a training batch.
        length: tokens in a row.
        eval_batch: rows in an evaluation batch; None: as in training.
        overlong: what to do with a conversation that does not fit into a row: "refuse" the file, "cut" its end, or
            "skip" it.
    """

    path: str = "train.jsonl"
    eval_path: str = "eval.jsonl"
    tokenizer: Bytes | Characters | BPE | Pretrained = field(default_factory=Bytes)
    template: TemplateName = "chatml"
    batch: int = 16
    length: int = 256
    eval_batch: int | None = None
    overlong: Literal["refuse", "cut", "skip"] = "refuse"

    def source(self, path: str) -> tuple[RowSource, dict[str, int]]:
        """Return the rows of a file, and counts of what is in them and what was left out."""
        raise NotImplementedError

    def texts(self, path: str) -> Iterable[str]:
        """Return the texts of a file, for a tokenizer that is built from them."""
        raise NotImplementedError

    def train(self, seed: int = 0, noise: int | None = None) -> Shuffled:
        """Return the training batches; `noise` seeds their keys, where they have some.

        Raises:
            BadInput: a line that cannot be used (names file and line), or fewer rows than a batch.
        """
        return Shuffled(self._read(self.path)[0], self.batch, seed, noise)

    def eval(self) -> InOrder:
        """Return the evaluation batches: every row exactly once.

        Raises:
            BadInput: a line that cannot be used (names file and line).
        """
        return InOrder(self._read(self.eval_path)[0], self.batch if self.eval_batch is None else self.eval_batch)

    def example(self) -> np.ndarray:
        """Return what a model is initialised with; int32 zeros [1, length]."""
        return np.zeros((1, self.length), np.int32)

    def build_tokenizer(self) -> AnyTokenizer:
        """Return the tokenizer."""
        return _tokenizer(self, _signature(self.path))

    def artefacts(self) -> dict[str, str]:
        """Return tokenizer.json."""
        return {"tokenizer.json": self.build_tokenizer().to_json()}

    def log_lines(self) -> list[str]:
        """Return a line about each split: how much there is, and what was cut and left out."""
        files = (("train", self.path), ("eval", self.eval_path))
        return [summary_line(split, self._read(path)[1]) for split, path in files]

    def check(self, model: Any, repeat: int = 1) -> None:
        """Raise BadInput where the files cannot be read or do not fit a model (`vocab`, `context`)."""
        del repeat
        check_tokens(model, self.build_tokenizer(), self.length, "data.length")
        self.train()
        self.eval()

    def encoded(self, messages: list[Message], place: str, *, opened: bool = False) -> Encoded:
        """Encode a conversation, see `jaxlm.data.text.conversation`.

        Raises:
            BadInput: the tokenizer cannot encode it; names the place.
        """
        try:
            return encode(messages, self.build_tokenizer(), self.template, opened=opened)
        except BadInput as error:
            raise BadInput(f"{place}: {error}") from None

    def fitted(self, messages: list[Message], place: str) -> tuple[Encoded | None, bool]:
        """Encode a conversation as at most `length` + 1 tokens, of which each but the first is a target.

        Args:
            messages: the conversation.
            place: file and line, for a message.

        Returns:
            The tokens, or None where the conversation is skipped; and whether it was too long.

        Raises:
            BadInput: it is too long and `overlong` is "refuse", or the tokenizer cannot encode it.
        """
        found = self.encoded(messages, place)
        if len(found.ids) <= self.length + 1:
            return found, False
        if self.overlong == "cut":
            return Encoded(*(part[: self.length + 1] for part in found)), True
        if self.overlong == "skip":
            return None, True
        raise BadInput(
            f"{place} is {len(found.ids)} tokens long and a row holds {self.length + 1}: raise data.length, or set "
            "data.overlong to cut or skip"
        )

    def long_count(self, count: int) -> dict[str, int]:
        """Return the entry of `counts` for what was too long; none where that is refused."""
        if self.overlong == "refuse":
            return {}
        return {"skipped for their length" if self.overlong == "skip" else f"cut to {self.length + 1} tokens": count}

    def _read(self, path: str) -> tuple[RowSource, dict[str, int]]:
        return _read(dataclasses.replace(self, batch=1, eval_batch=None), path, _signature(path))


@dataclass(frozen=True, kw_only=True)
class Chat(Conversations):
    """Spec: {"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}, ...]} a line.

    Batches are those of `Packed`. "mask" is 1 on the tokens of answers alone, each with the end of its turn.

    Attributes:
        pack: whether a row may have several conversations, which "segments" separate; else it has one.
    """

    pack: bool = True

    def source(self, path: str) -> tuple[Packed, dict[str, int]]:
        """Return the conversations of a file as rows, and counts of what is in them and what was left out."""
        found, long = [], 0
        for line in read_lines(path):
            messages = read_messages(line)
            if all(message.role != "assistant" for message in messages):
                raise BadInput(f"{line.place} has no message of the assistant, and so nothing to learn: add one")
            conversation, too_long = self.fitted(messages, line.place)
            long += too_long
            if conversation is not None:
                found.append(conversation)
        if not found:
            raise BadInput(f"{path} has no conversations left: give some that fit into {self.length + 1} tokens")
        ids, answer = (np.concatenate(parts) for parts in zip(*found, strict=True))
        starts = np.cumsum([0, *(len(conversation.ids) for conversation in found)])[:-1]
        rows = Packed(Stream(ids, starts, _digest(ids, answer, starts), answer), self.length, self.pack)
        counts = {"conversations": len(found), "tokens": len(ids), "tokens of answers": int(answer.sum())}
        return rows, counts | {f"rows of {self.length} tokens": len(rows)} | self.long_count(long)

    def throughput(self) -> tuple[int, str]:
        """Return what one training batch counts as."""
        return self.batch * self.length, "tokens"

    def texts(self, path: str) -> Iterable[str]:
        """Return the content of every message."""
        return (message.content for line in read_lines(path) for message in read_messages(line))


class PreferencePair(NamedTuple):
    """A prompt with a better answer and a worse one."""

    prompt: list[Message]
    chosen: Message
    rejected: Message


@dataclass(frozen=True, kw_only=True)
class Preferences(Conversations):
    """Spec: {"messages": [...] up to a question, "chosen": "the better answer", "rejected": "the worse one"} a line.

    Batches have "tokens", "targets" and "segments" (1, or 0 on padding) int32 [B, 2, T], and "mask" float32 [B, 2, T],
    1 on the tokens of the answer. Along the second axis are the chosen answer and the rejected one, each after the
    prompt.
    """

    def source(self, path: str) -> tuple[ArraySource, dict[str, int]]:
        """Return the pairs of a file as rows, and counts of what is in them and what was left out."""
        rows, long = [], 0
        for line in read_lines(path):
            pair = read_pair(line)
            begins = len(self.encoded(pair.prompt, line.place, opened=True).ids)
            both = [self.fitted([*pair.prompt, answer], line.place) for answer in (pair.chosen, pair.rejected)]
            kept = [self._row(one, begins) for one, _ in both if one is not None]
            long += any(too_long for _, too_long in both)
            if len(kept) == 2:
                rows.append({name: np.stack([one[name] for one in kept]) for name in kept[0]})
        if not rows:
            raise BadInput(f"{path} has no pairs left: give some that fit into {self.length + 1} tokens")
        table = ArraySource({name: np.stack([row[name] for row in rows]) for name in rows[0]})
        counts = {"pairs": len(rows), "tokens": int(table.arrays["segments"].sum())}
        return table, counts | {"tokens of answers": int(table.arrays["mask"].sum())} | self.long_count(long)

    def throughput(self) -> tuple[int, str]:
        """Return what one training batch counts as."""
        return self.batch, "pairs"

    def texts(self, path: str) -> Iterable[str]:
        """Return the content of every message and answer."""
        pairs = (read_pair(line) for line in read_lines(path))
        return (message.content for pair in pairs for message in (*pair.prompt, pair.chosen, pair.rejected))

    def _row(self, one: Encoded, begins: int) -> dict[str, np.ndarray]:
        """Return an answer after its prompt, padded to a row; answers within the prompt have a mask of 0."""
        last = one.answer & (np.arange(len(one.ids)) >= begins)

        def padded(values: np.ndarray, dtype: type) -> np.ndarray:
            return np.pad(values.astype(dtype), (0, self.length - len(values)))

        return {
            "tokens": padded(one.ids[:-1], np.int32),
            "targets": padded(one.ids[1:], np.int32),
            "segments": padded(np.ones(len(one.ids) - 1), np.int32),
            "mask": padded(last[1:], np.float32),
        }


def read_pair(line: Line) -> PreferencePair:
    """Read the prompt and both answers of a line.

    Raises:
        BadInput: the prompt does not end with the user, or an answer is not a text; names file and line.
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
    return PreferencePair(prompt, *answers)


def _signature(path: str) -> Hashable:
    """Return what changes when a file changes: path, size and time."""
    try:
        status = os.stat(os.path.expanduser(path))
    except OSError as error:
        raise BadInput(f"{path} cannot be read ({error.strerror}): give a file of JSON lines") from None
    return path, status.st_size, status.st_mtime_ns


@lru_cache(maxsize=8)
def _read(spec: Conversations, path: str, signature: Hashable) -> tuple[RowSource, dict[str, int]]:
    """Return the rows of a file and their counts, read once a process."""
    del signature
    return spec.source(path)


@lru_cache(maxsize=8)
def _tokenizer(spec: Conversations, signature: Hashable) -> AnyTokenizer:
    """Return the tokenizer of a spec, read once a process."""
    del signature
    return spec.tokenizer.build(spec.texts(spec.path))


def _digest(*arrays: np.ndarray) -> str:
    return json_sha256(
        "conversations", ArraySource({str(i): x for i, x in enumerate(arrays[:2])}).fingerprint(), arrays[2].tolist()
    )
