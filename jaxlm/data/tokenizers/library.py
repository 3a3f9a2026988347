"""Tokenizers that the `tokenizers` library runs: byte-level BPE, and those that come with pretrained weights."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from jaxlm.data.tokenizers.inner import build_inner, call_library
from jaxlm.data.tokenizers.protocol import SEPARATOR, UNKNOWN, Frame, Special, TokenizerBase, as_array
from jaxlm.errors import BadInput


@dataclass(frozen=True)
class LibraryTokenizer(TokenizerBase):
    """A tokenizer that the `tokenizers` library reads from a `tokenizer.json`.

    The name of a special token inside a text is plain text. Truncation and padding of the file are turned off: rows
    are cut and padded where batches are made.

    Attributes:
        model: the text of a `tokenizer.json`.

    Raises:
        BadInput: not a tokenizer.
    """

    model: str

    @property
    def _inner(self) -> Any:
        return build_inner(self.model)

    @cached_property
    def ids(self) -> dict[str, int]:
        """Return the id of every token, added ones included."""
        return self._inner.get_vocab(with_added_tokens=True)

    @cached_property
    def special_tokens(self) -> dict[str, int]:
        """Return the id of every token that is flagged as special."""
        added = self._inner.get_added_tokens_decoder()
        return {token.content: index for index, token in added.items() if token.special}

    @cached_property
    def vocab(self) -> int:
        """Return the highest id + 1."""
        return max(self.ids.values()) + 1

    @cached_property
    def separator(self) -> int | None:
        """Return the id that ends a document, if there is one."""
        return self.special_tokens.get(SEPARATOR)

    def encode(self, text: str) -> np.ndarray:
        """Return the ids, without special tokens; int32 [tokens]."""
        return np.array(call_library(self._inner.encode, text, add_special_tokens=False).ids, np.int32)

    def token(self, name: str) -> int | None:
        """Return the id of the special token of that name, if there is one."""
        return self.special_tokens.get(name)

    def encode_all(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Return the ids of each text, on all cores."""
        found = call_library(self._inner.encode_batch_fast, list(texts), add_special_tokens=False)
        return [np.array(encoding.ids, np.int32) for encoding in found]

    def encode_spans(self, texts: Sequence[str]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Encode texts with the place of every token in its text.

        White space is of no token. What the tokenizer drops behind a token, such as a combining accent or a joiner of
        emoji, is of that token, so that a stretch of tokens never cuts a letter from its marks.

        Returns:
            For each text its ids, int32 [tokens], and for each token its first character and one past its last,
            counted in code points; int64 [tokens, 2].
        """
        found = call_library(self._inner.encode_batch, list(texts), add_special_tokens=False)
        pairs = zip(texts, found, strict=True)
        return [(np.array(one.ids, np.int32), _spans(text, one.offsets)) for text, one in pairs]

    def decode(self, ids: Iterable[int] | np.ndarray) -> str:
        """Return the text; bytes that are not UTF-8 become U+FFFD, and so do ids past the vocabulary."""
        values = as_array(ids)
        known = (values >= 0) & (values < self.vocab)
        runs = np.split(values, np.flatnonzero(np.diff(known)) + 1)
        return "".join(self._run(run) if len(run) and 0 <= run[0] < self.vocab else UNKNOWN * len(run) for run in runs)

    def _run(self, ids: np.ndarray) -> str:
        return call_library(self._inner.decode, ids.tolist(), skip_special_tokens=False)

    def byte_lengths(self) -> np.ndarray:
        """Return the number of UTF-8 bytes that each token represents, 0 for special tokens; float32 [vocab].

        In a byte-level vocabulary each character of a token is one byte. In others the mark of a space ("▁") counts 1
        and the mark of a continued word ("##") 0; spaces that the tokenizer drops are not counted.
        """
        lengths = np.zeros(self.vocab, np.float32)
        described = json.loads(self.model)
        whole = "ByteLevel" in json.dumps([described.get("decoder"), described.get("pre_tokenizer")])
        for content, index in self._inner.get_vocab(with_added_tokens=False).items():
            lengths[index] = len(content) if whole else _spelt(content)
        for index, token in self._inner.get_added_tokens_decoder().items():
            lengths[index] = 0 if token.special else len(token.content.encode())
        return lengths

    def word_beginnings(self) -> np.ndarray:
        """Return which tokens begin a word; bool [vocab].

        In a WordPiece vocabulary these are the tokens without "##". In others they are those with the mark of a space
        ("▁", "Ġ"), so that what follows a word without a space, such as a comma, belongs to it.
        """
        begins = np.ones(self.vocab, bool)
        model = json.loads(self.model)["model"]
        for content, index in self._inner.get_vocab(with_added_tokens=False).items():
            if model["type"] == "WordPiece":
                begins[index] = not content.startswith(model.get("continuing_subword_prefix", "##"))
            else:
                begins[index] = content.startswith(("▁", "Ġ"))
        begins[list(self.special_tokens.values())] = True
        return begins


def _spans(text: str, offsets: Sequence[tuple[int, int]]) -> np.ndarray:
    """Return the spans of tokens without white space around them, and with the marks that follow them."""
    following = [*(start for start, _ in offsets[1:]), len(text)]
    spans = []
    for (start, end), limit in zip(offsets, following, strict=True):
        while start < end and text[start].isspace():
            start += 1
        while start < end and text[end - 1].isspace():
            end -= 1
        while end < limit and not text[end].isspace():
            end += 1
        spans.append((start, end))
    return np.array(spans, np.int64).reshape(-1, 2)


def _spelt(content: str) -> int:
    """Return the number of bytes that a token represents, in a vocabulary that is not byte-level."""
    if len(content) == 6 and content.startswith("<0x") and content.endswith(">"):
        return 1
    return len(content.removeprefix("##").replace("▁", " ").encode())


@dataclass(frozen=True)
class BPETokenizer(LibraryTokenizer):
    """Byte-level byte-pair encoding; "<|endoftext|>" ends a document.

    Raises:
        BadInput: not a tokenizer, or one that does not restore every text.
    """

    def __post_init__(self) -> None:
        sample = "Some text,\n\tthen  more: é 漢 🙂 <|endoftext|> "
        if self.decode(self.encode(sample)) != sample:
            raise BadInput("the tokenizer does not restore a text as it was: it must be a byte-level BPE")

    def to_json(self) -> str:
        """Return the JSON text."""
        return json.dumps({"kind": "bpe", "model": self.model})


@dataclass(frozen=True)
class PretrainedTokenizer(LibraryTokenizer):
    """The tokenizer of a pretrained model; decoding may not restore a text as it was.

    Attributes:
        special: the ids of special tokens by role.

    Raises:
        BadInput: not a tokenizer.
    """

    special: Special = field(default_factory=Special)

    def __post_init__(self) -> None:
        len(self.frame())

    @property
    def separator(self) -> int | None:  # type: ignore[override]
        """Return the id that ends a document: eos, else sep."""
        return self.special.sep if self.special.eos is None else self.special.eos

    @property
    def start(self) -> int | None:
        """Return the id that a target begins with: padding where there is no bos (T5, Marian), else the separator."""
        pad_begins = self.special.bos is None and self.special.eos is not None and self.special.pad is not None
        return self.special.pad if pad_begins else self.separator

    def encode_words(self, sentences: Sequence[Sequence[str]]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Encode sentences that are split into words; see `Tokenizer.encode_words`.

        A byte-level BPE encodes each word as if no space preceded it, unless its `tokenizer.json` adds one.
        """
        given = [list(words) for words in sentences]
        found = call_library(self._inner.encode_batch, given, is_pretokenized=True, add_special_tokens=False)
        return [(np.array(one.ids, np.int32), np.array(one.word_ids, np.int64)) for one in found]

    def frame(self, pair: bool = False) -> Frame:
        """Return the special tokens that the template of the tokenizer puts around a text, or around a pair."""
        return self._frames[pair]

    @cached_property
    def _frames(self) -> tuple[Frame, Frame]:
        one = call_library(self._inner.encode, "a")
        two = call_library(self._inner.encode, "a", "a")
        first, _, last = _around(one)
        before, between, after = _around(two)
        return Frame(first, (), last), Frame(before, between, after, [0, *two.type_ids][-1])

    def to_json(self) -> str:
        """Return the JSON text."""
        return json.dumps({"kind": "pretrained", "model": self.model, "special": asdict(self.special)})


def _around(encoding: Any) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Return the ids before the first text, between the texts and after the last one."""
    places: tuple[list[int], list[int], list[int]] = ([], [], [])
    texts = [text for text in encoding.sequence_ids if text is not None]
    seen = 0
    for index, text in zip(encoding.ids, encoding.sequence_ids, strict=True):
        if text is None:
            places[0 if not seen else 2 if seen == len(texts) else 1].append(index)
        seen += text is not None
    return tuple(places[0]), tuple(places[1]), tuple(places[2])
