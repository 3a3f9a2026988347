"""Encode documents as one stream of token ids; large streams are cached on disk and memory-mapped."""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from jaxlm.data.protocol import cache_folder, json_sha256
from jaxlm.data.text.documents import Document
from jaxlm.data.text.windows import Stream
from jaxlm.data.tokenizers.library import LibraryTokenizer
from jaxlm.data.tokenizers.protocol import encode_rows
from jaxlm.data.tokenizers.specs import (
    BPE,
    AnyTokenizer,
    Bytes,
    ByteTokenizer,
    Characters,
    Pretrained,
    Subwords,
    WordPiece,
)
from jaxlm.errors import BadInput

SLOW, LARGE = 1 << 20, 1 << 26


@dataclass(frozen=True, eq=False)
class Corpus:
    """A training and an evaluation text as token ids.

    Attributes:
        tokenizer: made the ids.
        training: the training text.
        evaluation: the evaluation text; None where there is none.
    """

    tokenizer: AnyTokenizer
    training: Stream
    evaluation: Stream | None


def build_corpus(
    spec: Bytes | Characters | BPE | Subwords | WordPiece | Pretrained,
    training: Sequence[Document],
    evaluation: Sequence[Document],
) -> Corpus:
    """Encode training and evaluation documents with one tokenizer.

    Where either part has several documents, the separator of the tokenizer ends every document of both.

    Args:
        spec: of the tokenizer, which may be built from the training documents.
        training: the training documents.
        evaluation: the evaluation documents; may be empty.

    Raises:
        BadInput: a part has no text, a text is not UTF-8, or the tokenizer cannot be read.
    """
    tokenizer = spec.build(chain.from_iterable(document.pieces() for document in training))
    separator = tokenizer.separator if max(len(training), len(evaluation)) > 1 else None
    evaluated = _Part(evaluation, tokenizer, separator).stream("evaluation") if evaluation else None
    return Corpus(tokenizer, _Part(training, tokenizer, separator).stream("training"), evaluated)


@dataclass(frozen=True)
class _Part:
    """Documents and how they become one stream of ids."""

    documents: Sequence[Document]
    tokenizer: AnyTokenizer
    separator: int | None

    @property
    def dtype(self) -> np.dtype:
        """Return the smallest unsigned type that holds every id."""
        return np.min_scalar_type(self.tokenizer.vocab - 1)

    def stream(self, name: str) -> Stream:
        """Return the ids of all documents.

        A single text as bytes is not copied, so that it stays memory-mapped. The ids of a text from one megabyte on
        under BPE, from 64 under other tokenizers, are cached in a file that is named by the SHA-256 of text and
        tokenizer.

        Args:
            name: of the part, for a message.
        """
        size, contents = self._digest()
        if not size:
            raise BadInput(f"the {name} text is empty: give files with text in it")
        key = json_sha256(contents, self.tokenizer.fingerprint(), self.separator)
        if len(self.documents) == 1 and self.separator is None and isinstance(self.tokenizer, ByteTokenizer):
            self.documents[0].check()
            return Stream(self.documents[0].read(), None, key)
        kept = size >= (SLOW if isinstance(self.tokenizer, LibraryTokenizer) else LARGE)
        tokens, bounds = self._kept(key) if kept else self._encoded()
        return Stream(tokens, bounds[:-1] if len(self.documents) > 1 else None, key)

    def _digest(self) -> tuple[int, str]:
        """Return the number of bytes in all documents, and a SHA-256 over the size and content of each."""
        contents, total = hashlib.sha256(), 0
        for document in self.documents:
            content = document.read()
            contents.update(f"{len(content)}:".encode())
            contents.update(np.ascontiguousarray(content).data)
            total += len(content)
        return total, contents.hexdigest()

    def _ids(self, document: Document) -> Iterator[np.ndarray]:
        """Yield the ids of a document in pieces, with the separator at its end; nothing for an empty document."""
        for piece in document.pieces():
            yield encode_rows(self.tokenizer, [piece], lambda _: document.name)[0].astype(self.dtype, copy=False)
        if self.separator is not None and len(document.read()):
            yield np.array([self.separator], self.dtype)

    def _each(self, write: Callable[[np.ndarray], object]) -> np.ndarray:
        """Call `write` with all ids; return where each document that is not empty begins, and the end; int64."""
        sizes = []
        for document in self.documents:
            size = 0
            for ids in self._ids(document):
                write(ids)
                size += len(ids)
            sizes.append(size)
        return np.cumsum([0, *(size for size in sizes if size)], dtype=np.int64)

    def _encoded(self) -> tuple[np.ndarray, np.ndarray]:
        """Return all ids, in memory, and the bounds of the documents."""
        pieces: list[np.ndarray] = []
        bounds = self._each(pieces.append)
        return np.concatenate(pieces), bounds

    def _kept(self, key: str) -> tuple[np.ndarray, np.ndarray]:
        """Return all ids, memory-mapped from the cache folder, and the bounds of the documents.

        Where the folder cannot be used, the ids are in memory.
        """
        tokens, bounds = cache_folder("tokens") / f"{key}.bin", cache_folder("tokens") / f"{key}.bounds.npy"
        try:
            if not tokens.exists():
                self._write(tokens, bounds)
            found = np.memmap(tokens, self.dtype, mode="r"), np.load(bounds, allow_pickle=False)
        except OSError:
            return self._encoded()
        return found if len(found[0]) == found[1][-1] else self._encoded()

    def _write(self, tokens: Path, bounds: Path) -> None:
        """Write both files; they get their names when they are complete, the tokens last."""
        parts = [path.with_name(f"{path.name}.part-{os.getpid()}") for path in (tokens, bounds)]
        tokens.parent.mkdir(parents=True, exist_ok=True)
        try:
            with parts[0].open("wb") as file:
                found = self._each(lambda ids: file.write(ids.data))
            with parts[1].open("wb") as file:
                np.save(file, found, allow_pickle=False)
            parts[1].replace(bounds)
            parts[0].replace(tokens)
        finally:
            for part in parts:
                part.unlink(missing_ok=True)
