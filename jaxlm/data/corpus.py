"""Documents to token ids, end to end; what is slow to encode or large is kept on disk and memory-mapped."""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from jaxlm.data.documents import Document
from jaxlm.data.protocol import digest
from jaxlm.data.tokenizer_library import LibraryTokenizer
from jaxlm.data.tokenizers import BPE, AnyTokenizer, Bytes, ByteTokenizer, Characters, Pretrained, WordPiece
from jaxlm.data.windows import Stream
from jaxlm.errors import BadInput

SLOW, LARGE = 1 << 20, 1 << 26


@dataclass(frozen=True, eq=False)
class Corpus:
    """A text as token ids, in two parts, and the tokenizer that made them."""

    tokenizer: AnyTokenizer
    training: Stream
    evaluation: Stream | None


def build_corpus(
    spec: Bytes | Characters | BPE | WordPiece | Pretrained,
    training: Sequence[Document],
    evaluation: Sequence[Document],
) -> Corpus:
    """Return the corpus; where either part has several documents the separator ends every document of both.

    Raises:
        BadInput: a part without text (no documents for evaluation are allowed), text that is not UTF-8, or a
            tokenizer that cannot be read.
    """
    tokenizer = spec.build(chain.from_iterable(document.pieces() for document in training))
    separator = tokenizer.separator if max(len(training), len(evaluation)) > 1 else None
    held = _Part(evaluation, tokenizer, separator).stream("evaluation") if evaluation else None
    return Corpus(tokenizer, _Part(training, tokenizer, separator).stream("training"), held)


def cache_folder() -> Path:
    """Return where token files are kept: `JAXLM_CACHE`, else ~/.cache/jaxlm. It may be deleted at any time."""
    return Path(os.environ.get("JAXLM_CACHE", "~/.cache/jaxlm")).expanduser() / "tokens"


@dataclass(frozen=True)
class _Part:
    """Documents, and how they become one row of ids."""

    documents: Sequence[Document]
    tokenizer: AnyTokenizer
    separator: int | None

    @property
    def dtype(self) -> np.dtype:
        """The smallest unsigned type that holds every id."""
        return np.min_scalar_type(self.tokenizer.vocab - 1)

    def stream(self, name: str) -> Stream:
        """Return the ids of all documents.

        One text as bytes is not copied and so stays memory-mapped. A text of a megabyte and more under BPE, and any
        of more than 64, is encoded once and kept in a file that is named by the digest of text and tokenizer.
        """
        size, contents = self._digest()
        if not size:
            raise BadInput(f"the {name} text is empty: give files with text in it")
        key = digest(contents, self.tokenizer.fingerprint(), self.separator)
        if len(self.documents) == 1 and self.separator is None and isinstance(self.tokenizer, ByteTokenizer):
            self.documents[0].check()
            return Stream(self.documents[0].read(), None, key)
        kept = size >= (SLOW if isinstance(self.tokenizer, LibraryTokenizer) else LARGE)
        tokens, bounds = self._kept(key) if kept else self._encoded()
        return Stream(tokens, bounds[:-1] if len(self.documents) > 1 else None, key)

    def _digest(self) -> tuple[int, str]:
        """Return the bytes in all documents, and a SHA-256 over each one's size and content."""
        contents, total = hashlib.sha256(), 0
        for document in self.documents:
            content = document.read()
            contents.update(f"{len(content)}:".encode())
            contents.update(np.ascontiguousarray(content).data)
            total += len(content)
        return total, contents.hexdigest()

    def _ids(self, document: Document) -> Iterator[np.ndarray]:
        """Yield the ids of a document in pieces, with the separator at its end; nothing for an empty one."""
        for piece in document.pieces():
            yield self.tokenizer.encode(piece).astype(self.dtype, copy=False)
        if self.separator is not None and len(document.read()):
            yield np.array([self.separator], self.dtype)

    def _each(self, write: Callable[[np.ndarray], object]) -> np.ndarray:
        """Write all ids; return where each document that is not empty begins, and the end; int64."""
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

        Where the folder cannot be used the ids stay in memory.
        """
        tokens, bounds = cache_folder() / f"{key}.bin", cache_folder() / f"{key}.bounds.npy"
        try:
            if not tokens.exists():
                self._write(tokens, bounds)
            found = np.memmap(tokens, self.dtype, mode="r"), np.load(bounds, allow_pickle=False)
        except OSError:
            return self._encoded()
        return found if len(found[0]) == found[1][-1] else self._encoded()

    def _write(self, tokens: Path, bounds: Path) -> None:
        """Write both files; they get their names when they are whole, the tokens last."""
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
