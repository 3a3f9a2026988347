"""What the rest of the toolkit asks of a tokenizer, and the base class of all of them."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from jaxlm.errors import BadInput

SEPARATOR = "<|endoftext|>"
UNKNOWN = "\ufffd"


def sentinel_name(number: int) -> str:
    """Return the name of the special token that stands for span `number` of a text, as in T5."""
    return f"<extra_id_{number}>"


@dataclass(frozen=True)
class Special:
    """The ids of the special tokens by role; None where a tokenizer has no such token.

    Attributes:
        cls: begins a row; a classifier reads the whole row from its position.
        sep: ends a sentence.
        pad: pads a row.
        mask: replaces a token that is to be predicted.
        bos: begins a text.
        eos: ends a text.
        unk: replaces what is not in the vocabulary.
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
        second: the token type of the second text and of the tokens after it; all others have type 0.
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
    def start(self) -> int | None:
        """Return the id that a text to be written begins with, if there is one."""
        ...

    @property
    def special(self) -> Special:
        """Return the ids of special tokens by role."""
        ...

    def encode(self, text: str) -> np.ndarray:
        """Return the token ids of a text; integers [tokens]."""
        ...

    def decode(self, ids: Iterable[int] | np.ndarray) -> str:
        """Return the text of token ids; ids out of range, and bytes that are not UTF-8, become U+FFFD."""
        ...

    def token(self, name: str) -> int | None:
        """Return the id of the special token of that name, if there is one; for `encode` its name is plain text."""
        ...

    def encode_all(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Return the token ids of each text."""
        ...

    def encode_words(self, sentences: Sequence[Sequence[str]]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Encode sentences that are split into words.

        Args:
            sentences: the words of each sentence.

        Returns:
            For each sentence its ids, int32 [tokens], and for each id the number of its word, int64 [tokens].
        """
        ...

    def frame(self, pair: bool = False) -> Frame:
        """Return the special tokens that a model expects around a text, or around a pair of texts."""
        ...

    def byte_lengths(self) -> np.ndarray:
        """Return the number of UTF-8 bytes that each token represents; float32 [vocab]."""
        ...

    def to_json(self) -> str:
        """Return the whole tokenizer as JSON, for `load_tokenizer`."""
        ...

    def fingerprint(self) -> str:
        """Return the SHA-256 of `to_json()`."""
        ...


class TokenizerBase:
    """Base of a tokenizer without special tokens: what follows from `to_json` and `encode`."""

    special = Special()

    @property
    def separator(self) -> int | None:
        """Return None: there is no such token."""
        return None

    @property
    def start(self) -> int | None:
        """Return the separator: the end of one text begins the next."""
        return self.separator

    def encode(self, text: str) -> np.ndarray:
        """Return the token ids."""
        raise NotImplementedError

    def to_json(self) -> str:
        """Return the whole tokenizer as JSON."""
        raise NotImplementedError

    def fingerprint(self) -> str:
        """Return the SHA-256 of `to_json()`."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def token(self, name: str) -> int | None:
        """Return None: there are no special tokens."""
        del name
        return None

    def encode_all(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Return the token ids of each text."""
        return [self.encode(text) for text in texts]

    def encode_words(self, sentences: Sequence[Sequence[str]]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Encode sentences that are split into words, each word on its own; see `Tokenizer.encode_words`."""
        return [join_words(self.encode_all(words)) for words in sentences]

    def frame(self, pair: bool = False) -> Frame:
        """Return a frame without tokens."""
        del pair
        return Frame()


def encode_rows(tokenizer: Tokenizer, texts: Sequence[str], where: Callable[[int], str]) -> list[np.ndarray]:
    """Return the ids of each text.

    Args:
        tokenizer: encodes the texts.
        texts: one a row.
        where: row -> its place for a message.

    Raises:
        BadInput: a text that the tokenizer cannot encode; names its place.
    """
    try:
        return tokenizer.encode_all(texts)
    except BadInput:
        for row, text in enumerate(texts):
            try:
                tokenizer.encode(text)
            except BadInput as error:
                raise BadInput(f"{where(row)}: {error}") from None
        raise


def join_words(pieces: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return the ids of words one after the other, int32, and for each id the number of its word, int64."""
    ids = np.concatenate([np.zeros(0, np.int32), *pieces]).astype(np.int32)
    return ids, np.repeat(np.arange(len(pieces)), [len(piece) for piece in pieces])


def as_array(ids: Iterable[int] | np.ndarray) -> np.ndarray:
    """Return ids as int64 [tokens]."""
    return np.asarray(ids if isinstance(ids, np.ndarray) else list(ids), np.int64).reshape(-1)
