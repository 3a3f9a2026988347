"""Tokenizers that the `tokenizers` library runs: byte-level BPE, and those that come with pretrained weights."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from jaxlm.data.tokenizer_protocol import SEPARATOR, UNKNOWN, Frame, Special, Written, as_array
from jaxlm.errors import BadInput


@dataclass(frozen=True)
class LibraryTokenizer(Written):
    """What the `tokenizers` library makes of a `tokenizer.json`.

    Names of special tokens that are spelt out in a text are text. Truncation and padding that the file asks for are
    left out: rows are cut and padded where batches are made.

    Attributes:
        model: the text of a `tokenizer.json`.

    Raises:
        BadInput: not a tokenizer.
    """

    model: str

    @cached_property
    def _inner(self) -> Any:
        from tokenizers import Tokenizer as Inner

        try:
            inner = Inner.from_str(self.model)
        except Exception as error:  # the library raises bare Exception
            raise BadInput(f"not a tokenizer.json of the tokenizers library: {error}") from error
        inner.encode_special_tokens = True
        inner.no_truncation()
        inner.no_padding()
        return inner

    @cached_property
    def _special(self) -> dict[int, str]:
        return {
            index: token.content for index, token in self._inner.get_added_tokens_decoder().items() if token.special
        }

    @cached_property
    def vocab(self) -> int:
        """Return the highest id + 1."""
        return max(self._inner.get_vocab(with_added_tokens=True).values()) + 1

    @cached_property
    def separator(self) -> int | None:
        """Return the id that ends a document."""
        return next((index for index, content in self._special.items() if content == SEPARATOR), None)

    def encode(self, text: str) -> np.ndarray:
        """Return the ids, without special tokens; int32 [tokens]."""
        return np.array(self._inner.encode(text, add_special_tokens=False).ids, np.int32)

    def token(self, name: str) -> int | None:
        """Return the id of the special token of that name, if there is one."""
        return next((index for index, content in self._special.items() if content == name), None)

    def encode_all(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Return the ids of each text, on all cores."""
        found = self._inner.encode_batch_fast(list(texts), add_special_tokens=False)
        return [np.array(encoding.ids, np.int32) for encoding in found]

    def decode(self, ids: Iterable[int] | np.ndarray) -> str:
        """Return the text; bytes that are not UTF-8 become U+FFFD, and so do ids past the vocabulary."""
        values = as_array(ids)
        known = (values >= 0) & (values < self.vocab)
        runs = np.split(values, np.flatnonzero(np.diff(known)) + 1)
        return "".join(self._run(run) if len(run) and 0 <= run[0] < self.vocab else UNKNOWN * len(run) for run in runs)

    def _run(self, ids: np.ndarray) -> str:
        return self._inner.decode(ids.tolist(), skip_special_tokens=False)

    def byte_lengths(self) -> np.ndarray:
        """Return the UTF-8 bytes that each token stands for, 0 for special ones; float32 [vocab].

        In a byte-level vocabulary one printable character stands for one byte. Elsewhere the marks of a space ("▁")
        count one, those of a word that goes on ("##") none, and spaces that the tokenizer forgets none.
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

        In a WordPiece vocabulary those without "##". In others those with the mark of a space ("▁", "Ġ"), so that
        what follows a word without a space, such as a comma, belongs to it.
        """
        begins = np.ones(self.vocab, bool)
        model = json.loads(self.model)["model"]
        for content, index in self._inner.get_vocab(with_added_tokens=False).items():
            if model["type"] == "WordPiece":
                begins[index] = not content.startswith(model["continuing_subword_prefix"])
            else:
                begins[index] = content.startswith(("▁", "Ġ"))
        begins[list(self._special)] = True
        return begins


def _spelt(content: str) -> int:
    """Return the bytes that a token of a vocabulary that is not byte-level stands for."""
    if len(content) == 6 and content.startswith("<0x") and content.endswith(">"):
        return 1
    return len(content.removeprefix("##").replace("▁", " ").encode())


@dataclass(frozen=True)
class BPETokenizer(LibraryTokenizer):
    """Byte-level byte-pair encoding; "<|endoftext|>" ends a document.

    Raises:
        BadInput: not a tokenizer, or not one that gives back every text.
    """

    def __post_init__(self) -> None:
        sample = "Some text,\n\tthen  more: é 漢 🙂 <|endoftext|> "
        if self.decode(self.encode(sample)) != sample:
            raise BadInput("the tokenizer does not give a text back as it was: it must be a byte-level BPE")

    def to_json(self) -> str:
        """Return the JSON text."""
        return json.dumps({"kind": "bpe", "model": self.model})


@dataclass(frozen=True)
class PretrainedTokenizer(LibraryTokenizer):
    """A tokenizer as pretrained weights bring it. It need not give back a text as it was.

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
        """Return the id that ends a document: that of eos, else of sep."""
        return self.special.sep if self.special.eos is None else self.special.eos

    def encode_words(self, sentences: Sequence[Sequence[str]]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return for each sentence of words the ids, and for each id the number of its word in the sentence.

        A byte-level BPE takes each word as if no space stood before it, unless its `tokenizer.json` adds one.
        """
        found = self._inner.encode_batch(
            [list(words) for words in sentences], is_pretokenized=True, add_special_tokens=False
        )
        return [(np.array(one.ids, np.int32), np.array(one.word_ids, np.int64)) for one in found]

    def frame(self, pair: bool = False) -> Frame:
        """Return what the tokenizer's own template puts around a text, or around two."""
        return self._frames[pair]

    @cached_property
    def _frames(self) -> tuple[Frame, Frame]:
        one = self._inner.encode("a")
        two = self._inner.encode("a", "a")
        first, _, last = _around(one)
        before, between, after = _around(two)
        return Frame(first, (), last), Frame(before, between, after, two.type_ids[-1])

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
