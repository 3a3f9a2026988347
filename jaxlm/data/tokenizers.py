"""Text to token ids and back: bytes, characters, and byte-pair encoding.

`Bytes`, `Characters` and `BPE` are specs, the values that stand in a config. Their `build` gives a tokenizer: a value
that is all in its JSON text, so that a run keeps it beside the weights and can sample without the corpus.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from jaxlm.errors import BadInput

SEPARATOR = "<|endoftext|>"
UNKNOWN = "\ufffd"


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

    def encode(self, text: str) -> np.ndarray:
        """Return the token ids; integers [tokens]."""
        ...

    def decode(self, ids: Iterable[int] | np.ndarray) -> str:
        """Return the text; what is no text, or no id of this tokenizer, becomes U+FFFD."""
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


class _Written:
    """What follows from `to_json` alone."""

    def to_json(self) -> str:
        raise NotImplementedError

    def fingerprint(self) -> str:
        """Return the SHA-256 of `to_json()`."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()


@dataclass(frozen=True)
class ByteTokenizer(_Written):
    """UTF-8 bytes; NUL ends a document."""

    vocab = 256
    separator = 0

    def encode(self, text: str) -> np.ndarray:
        """Return the UTF-8 bytes; uint8 [bytes]. Bytes that a command line smuggled in are given back as they were."""
        return np.frombuffer(text.encode("utf-8", "surrogateescape"), np.uint8)

    def decode(self, ids: Iterable[int] | np.ndarray) -> str:
        """Return the text; bytes that are not UTF-8 and ids past 255 become U+FFFD."""
        values = _as_array(ids)
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
class CharacterTokenizer(_Written):
    """One id for each character of `alphabet`, which is sorted by code point; no separator."""

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
            BadInput: a character that is not in the alphabet.
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
        values = _as_array(ids)
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
class BPETokenizer(_Written):
    """Byte-level byte-pair encoding, run by the `tokenizers` library; "<|endoftext|>" ends a document.

    Attributes:
        model: the text of a `tokenizer.json`.

    Raises:
        BadInput: not a tokenizer, or not one that gives back every text.
    """

    model: str

    def __post_init__(self) -> None:
        sample = "Some text,\n\tthen  more: é 漢 🙂 <|endoftext|> "
        if self.decode(self.encode(sample)) != sample:
            raise BadInput("the tokenizer does not give a text back as it was: it must be a byte-level BPE")

    @cached_property
    def _inner(self) -> Any:
        from tokenizers import Tokenizer as Inner

        try:
            inner = Inner.from_str(self.model)
        except Exception as error:  # the library raises bare Exception
            raise BadInput(f"not a tokenizer.json of the tokenizers library: {error}") from error
        inner.encode_special_tokens = True  # "<|endoftext|>" in a text is text, and no end of a document
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
        """Return the id of "<|endoftext|>"."""
        return next((index for index, content in self._special.items() if content == SEPARATOR), None)

    def encode(self, text: str) -> np.ndarray:
        """Return the ids; int32 [tokens]."""
        return np.array(self._inner.encode(text, add_special_tokens=False).ids, np.int32)

    def decode(self, ids: Iterable[int] | np.ndarray) -> str:
        """Return the text; bytes that are not UTF-8 become U+FFFD, and so do ids past the vocabulary."""
        values = _as_array(ids)
        known = (values >= 0) & (values < self.vocab)
        runs = np.split(values, np.flatnonzero(np.diff(known)) + 1)
        return "".join(self._run(run) if len(run) and 0 <= run[0] < self.vocab else UNKNOWN * len(run) for run in runs)

    def _run(self, ids: np.ndarray) -> str:
        return self._inner.decode(ids.tolist(), skip_special_tokens=False)

    def byte_lengths(self) -> np.ndarray:
        """Return the bytes of each token, 0 for special ones; float32 [vocab].

        In a byte-level vocabulary one printable character stands for one byte.
        """
        lengths = np.zeros(self.vocab, np.float32)
        for content, index in self._inner.get_vocab(with_added_tokens=False).items():
            lengths[index] = len(content)
        for index, token in self._inner.get_added_tokens_decoder().items():
            lengths[index] = 0 if token.special else len(token.content.encode())
        return lengths

    def to_json(self) -> str:
        """Return the JSON text."""
        return json.dumps({"kind": "bpe", "model": self.model})


AnyTokenizer = ByteTokenizer | CharacterTokenizer | BPETokenizer


def load_tokenizer(text: str) -> AnyTokenizer:
    """Return the tokenizer that `to_json` wrote.

    Raises:
        BadInput: the text is none of these.
    """
    try:
        match json.loads(text):
            case {"kind": "bytes"}:
                return ByteTokenizer()
            case {"kind": "characters", "alphabet": str(alphabet)}:
                return CharacterTokenizer(alphabet)
            case {"kind": "bpe", "model": str(model)}:
                return BPETokenizer(model)
    except json.JSONDecodeError as error:
        raise BadInput(f"the tokenizer is not JSON ({error}): take the file from the run again") from error
    raise BadInput("the tokenizer is none of bytes, characters and bpe: take the file from the run again")


@dataclass(frozen=True)
class Bytes:
    """Spec: UTF-8 bytes, 256 ids."""

    def build(self, training: Iterable[str]) -> ByteTokenizer:
        """Return the tokenizer; the text is not read."""
        del training
        return ByteTokenizer()


@dataclass(frozen=True)
class Characters:
    """Spec: the characters of the training text, sorted."""

    def build(self, training: Iterable[str]) -> CharacterTokenizer:
        """Return the tokenizer of the characters in these pieces of text."""
        alphabet: set[str] = set()
        for piece in training:
            alphabet.update(set(piece))
        return CharacterTokenizer("".join(sorted(alphabet)))


@dataclass(frozen=True)
class BPE:
    """Spec: a `tokenizer.json`, as `scripts/train_tokenizer.py` writes it."""

    path: str = "tokenizer.json"

    def build(self, training: Iterable[str]) -> BPETokenizer:
        """Return the tokenizer of the file; the text is not read.

        Raises:
            BadInput: no such file, or not a byte-level BPE.
        """
        del training
        path = Path(self.path).expanduser()
        try:
            return BPETokenizer(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise BadInput(
                f"no tokenizer at {path}: train one with `python scripts/train_tokenizer.py TEXT --out {path}`"
            ) from None
        except (OSError, UnicodeDecodeError, BadInput) as error:
            raise BadInput(f"{path}: {error}") from error


def _as_array(ids: Iterable[int] | np.ndarray) -> np.ndarray:
    return np.asarray(ids if isinstance(ids, np.ndarray) else list(ids), np.int64).reshape(-1)


def _code_points(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
