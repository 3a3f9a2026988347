"""What the rest of the toolkit asks of a tokenizer, and what every tokenizer has."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

SEPARATOR = "<|endoftext|>"
UNKNOWN = "\ufffd"


@dataclass(frozen=True)
class Special:
    """The ids of the special tokens by role, None where there is none.

    Attributes:
        cls: begins a row whose first place is to stand for all of it.
        sep: ends a sentence.
        pad: fills a row up.
        mask: stands for a token that is to be guessed.
        bos: begins a text.
        eos: ends a text.
        unk: stands for what is not in the vocabulary.
    """

    cls: int | None = None
    sep: int | None = None
    pad: int | None = None
    mask: int | None = None
    bos: int | None = None
    eos: int | None = None
    unk: int | None = None


@dataclass(frozen=True)
class Frame:
    """The special tokens around one text, or around two and between them.

    Attributes:
        before: ids before the first text.
        between: ids between two texts.
        after: ids after the last text.
        second: the type of the second text and of what stands after it; all else has type 0.
    """

    before: tuple[int, ...] = ()
    between: tuple[int, ...] = ()
    after: tuple[int, ...] = ()
    second: int = 0

    def __len__(self) -> int:
        return len(self.before) + len(self.between) + len(self.after)


class Tokenizer(Protocol):
    """A reversible map from text to token ids in `range(vocab)`."""

    @property
    def vocab(self) -> int:
        """Return the number of ids."""
        ...

    @property
    def separator(self) -> int | None:
        """Return the id that ends a document, if there is one."""
        ...

    @property
    def special(self) -> Special:
        """Return the ids of special tokens by role."""
        ...

    def encode(self, text: str) -> np.ndarray:
        """Return the token ids; integers [tokens]."""
        ...

    def decode(self, ids: Iterable[int] | np.ndarray) -> str:
        """Return the text; what is no text, or no id of this tokenizer, becomes U+FFFD."""
        ...

    def token(self, name: str) -> int | None:
        """Return the id of the special token of that name, if there is one; `encode` takes its name for text."""
        ...

    def encode_all(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Return the token ids of each text."""
        ...

    def encode_words(self, sentences: Sequence[Sequence[str]]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return for each sentence of words the ids, and for each id the number of its word in the sentence."""
        ...

    def frame(self, pair: bool = False) -> Frame:
        """Return the special tokens that a model expects around a text, or around two."""
        ...

    def byte_lengths(self) -> np.ndarray:
        """Return how many UTF-8 bytes each token stands for; float32 [vocab]."""
        ...

    def to_json(self) -> str:
        """Return all there is to it, for `load_tokenizer`."""
        ...

    def fingerprint(self) -> str:
        """Return the SHA-256 of `to_json()`."""
        ...


class Written:
    """What follows from `to_json` and `encode` alone, for a tokenizer without special tokens."""

    special = Special()

    def encode(self, text: str) -> np.ndarray:
        """Return the token ids."""
        raise NotImplementedError

    def to_json(self) -> str:
        """Return all there is to it."""
        raise NotImplementedError

    def fingerprint(self) -> str:
        """Return the SHA-256 of `to_json()`."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def token(self, name: str) -> int | None:
        """Return nothing: there are no special tokens."""
        del name
        return None

    def encode_all(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Return the token ids of each text."""
        return [self.encode(text) for text in texts]

    def encode_words(self, sentences: Sequence[Sequence[str]]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return for each sentence of words the ids, and for each id the number of its word; each word on its own."""
        return [join_words(self.encode_all(words)) for words in sentences]

    def frame(self, pair: bool = False) -> Frame:
        """Return no tokens."""
        del pair
        return Frame()


def join_words(pieces: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return the ids of some words end to end, int32, and for each id the number of its word, int64."""
    ids = np.concatenate([np.zeros(0, np.int32), *pieces]).astype(np.int32)
    return ids, np.repeat(np.arange(len(pieces)), [len(piece) for piece in pieces])


def as_array(ids: Iterable[int] | np.ndarray) -> np.ndarray:
    """Return ids as int64 [tokens]."""
    return np.asarray(ids if isinstance(ids, np.ndarray) else list(ids), np.int64).reshape(-1)
