"""Tokenizers of a few lines each: bytes, characters, words, symbols."""

import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from jaxlm.data.tokenizers.protocol import SEPARATOR, UNKNOWN, Special, TokenizerBase, as_array
from jaxlm.errors import BadInput

WORD = re.compile(r"\w+|[^\w\s]")
SYMBOL = re.compile(r"\S+", re.ASCII)


@dataclass(frozen=True)
class ByteTokenizer(TokenizerBase):
    """A tokenizer whose ids are UTF-8 bytes; NUL ends a document."""

    vocab = 256
    separator = 0

    def encode(self, text: str) -> np.ndarray:
        """Return the UTF-8 bytes; uint8 [bytes]. Bytes of a command line that are not UTF-8 are kept as they are.

        Raises:
            BadInput: the text has half of a surrogate pair.
        """
        try:
            return np.frombuffer(text.encode("utf-8", "surrogateescape"), np.uint8)
        except UnicodeEncodeError as error:
            half = error.object[error.start]
            raise BadInput(f"{half!r} is half of a surrogate pair and no character: take it out") from None

    def decode(self, ids: Iterable[int] | np.ndarray) -> str:
        """Return the text; bytes that are not UTF-8 and ids past 255 become U+FFFD."""
        values = as_array(ids)
        return (
            np.where((values >= 0) & (values < 256), values, 255).astype(np.uint8).tobytes().decode("utf-8", "replace")
        )

    def byte_lengths(self) -> np.ndarray:
        """Return ones; float32 [256]."""
        return np.ones(256, np.float32)

    def to_json(self) -> str:
        """Return the JSON text."""
        return json.dumps({"kind": "bytes"})


@dataclass(frozen=True)
class CharacterTokenizer(TokenizerBase):
    """A tokenizer with one id for each character of an alphabet, without a separator of documents.

    Attributes:
        alphabet: the characters, sorted by code point.
    """

    alphabet: str

    separator = None

    @property
    def vocab(self) -> int:
        """Return the number of characters."""
        return len(self.alphabet)

    @cached_property
    def _points(self) -> np.ndarray:
        return _code_points(self.alphabet)

    def encode(self, text: str) -> np.ndarray:
        """Return the ids; int32 [characters].

        Raises:
            BadInput: the text has a character that is not in the alphabet.
        """
        points = _code_points(text)
        ids = np.minimum(np.searchsorted(self._points, points), self.vocab - 1).astype(np.int32)
        unknown = np.flatnonzero(self._points[ids] != points)
        if unknown.size:
            raise BadInput(
                f"the character {text[unknown[0]]!r} is not among the {self.vocab} of the training text: "
                "leave it out, or train with Bytes() or BPE"
            )
        return ids

    def decode(self, ids: Iterable[int] | np.ndarray) -> str:
        """Return the text; ids past the vocabulary become U+FFFD."""
        values = as_array(ids)
        known = (values >= 0) & (values < self.vocab)
        points = np.where(known, self._points[np.where(known, values, 0)], ord(UNKNOWN))
        return points.astype("<u4").tobytes().decode("utf-32-le", "surrogatepass")

    def byte_lengths(self) -> np.ndarray:
        """Return the UTF-8 length of each character; float32 [vocab]."""
        return np.array([len(character.encode()) for character in self.alphabet], np.float32)

    def to_json(self) -> str:
        """Return the JSON text."""
        return json.dumps({"kind": "characters", "alphabet": self.alphabet})


@dataclass(frozen=True)
class WordTokenizer(TokenizerBase):
    """A tokenizer with one id for each word of a list: 0 is padding, 1 any other word, and the list follows.

    A word is a run of letters, digits and underscores, or one other character that is not a space. Decoding puts one
    space between words.

    Attributes:
        words: the list.
        lower: whether texts are lower-cased first.
    """

    words: tuple[str, ...]
    lower: bool

    separator = None
    special = Special(pad=0, unk=1)

    @property
    def vocab(self) -> int:
        """Return the number of words, plus 2."""
        return len(self.words) + 2

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {word: index for index, word in enumerate(self.words, 2)}

    def encode(self, text: str) -> np.ndarray:
        """Return the ids; int32 [words]."""
        return np.array([self._ids.get(word, 1) for word in split_words(text, self.lower)], np.int32)

    def decode(self, ids: Iterable[int] | np.ndarray) -> str:
        """Return the words with spaces between them, without padding; unknown ids become U+FFFD."""
        names = ("", UNKNOWN, *self.words)
        return " ".join(names[index] if 0 <= index < self.vocab else UNKNOWN for index in as_array(ids) if index)

    def byte_lengths(self) -> np.ndarray:
        """Return the UTF-8 length of each word, 0 for padding and the unknown word; float32 [vocab]."""
        return np.array([0, 0, *(len(word.encode()) for word in self.words)], np.float32)

    def to_json(self) -> str:
        """Return the JSON text."""
        return json.dumps({"kind": "words", "words": self.words, "lower": self.lower})


@dataclass(frozen=True)
class SymbolTokenizer(TokenizerBase):
    """A tokenizer of symbols with white space between them, such as phones: 0 ends a text, and a list follows.

    Attributes:
        symbols: the list.
    """

    symbols: tuple[str, ...]

    separator = 0

    @property
    def vocab(self) -> int:
        """Return the number of symbols, plus 1."""
        return len(self.symbols) + 1

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {symbol: index for index, symbol in enumerate(self.symbols, 1)}

    def encode(self, text: str) -> np.ndarray:
        """Return the ids; int32 [symbols].

        Raises:
            BadInput: the text has a symbol that is not in the list.
        """
        found = split_symbols(text)
        if unknown := next((symbol for symbol in found if symbol not in self._ids), None):
            raise BadInput(
                f"the symbol {unknown!r} is not among the {len(self.symbols)} of the training text: leave it out, or "
                "train with texts that have it"
            )
        return np.array([self._ids[symbol] for symbol in found], np.int32)

    def decode(self, ids: Iterable[int] | np.ndarray) -> str:
        """Return the symbols with spaces between them; ids past the vocabulary become U+FFFD."""
        names = (SEPARATOR, *self.symbols)
        return " ".join(names[index] if 0 <= index < self.vocab else UNKNOWN for index in as_array(ids))

    def byte_lengths(self) -> np.ndarray:
        """Return the UTF-8 length of each symbol, 0 for the end; float32 [vocab]."""
        return np.array([0, *(len(symbol.encode()) for symbol in self.symbols)], np.float32)

    def to_json(self) -> str:
        """Return the JSON text."""
        return json.dumps({"kind": "symbols", "symbols": self.symbols})


def split_symbols(text: str) -> list[str]:
    """Return what is between the white space of ASCII."""
    return SYMBOL.findall(text)


def split_words(text: str, lower: bool) -> list[str]:
    """Return the words of a text."""
    return WORD.findall(text.lower() if lower else text)


def count_words(training: Iterable[str], size: int, lower: bool, minimum: int) -> WordTokenizer:
    """Build a tokenizer from the most frequent words of a text; ties are sorted by code point.

    Args:
        training: pieces of the text.
        size: the largest number of ids, the two for padding and the unknown word included.
        lower: whether texts are lower-cased.
        minimum: how often a word must occur.

    Raises:
        BadInput: no word is left.
    """
    counts: Counter[str] = Counter()
    for text in training:
        counts.update(split_words(text, lower))
    common = sorted((-count, word) for word, count in counts.items() if count >= minimum)
    if not (words := tuple(word for _, word in common[: max(size - 2, 0)])):
        raise BadInput(
            f"no word occurs {minimum} times in the training text, or a size of {size} leaves no place: "
            "lower tokenizer.minimum, raise tokenizer.size or give more text"
        )
    return WordTokenizer(words, lower)


def _code_points(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
