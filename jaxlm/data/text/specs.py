"""Language-model data from text: what the specs share, and `Text` for files and folders."""

import dataclasses
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from jaxlm.data.model_checks import check_tokens
from jaxlm.data.order import InOrder, Shuffled
from jaxlm.data.protocol import summary_line
from jaxlm.data.text.corpus import Corpus, build_corpus
from jaxlm.data.text.documents import Document, find_files, split_files
from jaxlm.data.text.packing import Packed
from jaxlm.data.text.windows import Windows
from jaxlm.data.tokenizers.specs import BPE, AnyTokenizer, Bytes, Characters, Pretrained, Subwords, WordPiece
from jaxlm.errors import BadInput


@dataclass(frozen=True, kw_only=True)
class LanguageData:
    """Spec: rows of `length` tokens of a text, for a model of next tokens.

    Attributes:
        batch: rows in a training batch.
        length: tokens in a row.
        tokenizer: `Bytes()`, `Characters()`, `BPE(path)`, `Subwords(size)`, `WordPiece(size)` or
            `Pretrained(folder)`.
        eval_batch: rows in an evaluation batch; None: as in training.
        segments: whether documents are separated ("segments" and "mask" in the batches); has no effect on a corpus
            of one document, whose training batches have neither.
        pack: whether rows have whole documents, packed, instead of windows of the running text.
    """

    batch: int = 32
    length: int = 128
    tokenizer: Bytes | Characters | BPE | Subwords | WordPiece | Pretrained = field(default_factory=Bytes)
    eval_batch: int | None = None
    segments: bool = True
    pack: bool = False

    def documents(self) -> tuple[Sequence[Document], Sequence[Document]]:
        """Return training and evaluation documents."""
        raise NotImplementedError

    def signature(self) -> Hashable:
        """Return what changes when the documents change, without reading them: sizes and times of files."""
        raise NotImplementedError

    def train(self, seed: int = 0, noise: int | None = None) -> Shuffled:
        """Return the training batches; "tokens" and "targets" int32 [batch, length] and so on (see `Windows`).

        `noise` seeds their keys, where they have some.

        Raises:
            BadInput: the text cannot be read, or is too short for one batch.
        """
        return Shuffled(self.source(training=True), self.batch, seed, noise)

    def eval(self) -> InOrder:
        """Return the evaluation batches: every target exactly once.

        Raises:
            BadInput: the text cannot be read, or has no part for evaluation.
        """
        batch = self.batch if self.eval_batch is None else self.eval_batch
        return InOrder(self.source(training=False), batch)

    def example(self) -> np.ndarray:
        """Return what a model is initialised with; int32 zeros [1, length]."""
        return np.zeros((1, self.length), np.int32)

    def build_tokenizer(self) -> AnyTokenizer:
        """Return the tokenizer of this text.

        Raises:
            BadInput: the text or the tokenizer cannot be read.
        """
        return self._load().tokenizer

    def artefacts(self) -> dict[str, str]:
        """Return tokenizer.json."""
        return {"tokenizer.json": self.build_tokenizer().to_json()}

    def log_lines(self) -> list[str]:
        """Return a line about each split: documents, tokens, rows, and tokens that are left out of an epoch."""
        lines = [summary_line("train", self.source(training=True).counts())]
        if self._load().evaluation is not None:
            lines.append(summary_line("eval", self.source(training=False).counts()))
        return [*lines, f"tokenizer: {self.build_tokenizer().vocab:,} tokens"]

    def throughput(self) -> tuple[int, str]:
        """Return what one training batch counts as."""
        return self.batch * self.length, "tokens"

    def check(self, model: Any, repeat: int = 1) -> None:
        """Raise BadInput where the text cannot be read or does not fit a model (`vocab`, `context`).

        Reads the whole text, once a process.
        """
        del repeat
        check_tokens(model, self.build_tokenizer(), self.length, "data.length")
        self.train()
        if self._load().evaluation is not None:
            self.eval()

    def source(self, training: bool) -> Windows | Packed:
        """Return the rows that batches are made of.

        Args:
            training: those of the training text, else of the evaluation text.

        Raises:
            BadInput: as `train` and `eval`.
        """
        corpus = self._load()
        stream = corpus.training if training else corpus.evaluation
        if stream is None:
            raise BadInput("there is no evaluation text: raise the evaluation share or give more files")
        if self.pack:
            if not self.segments:
                raise BadInput("pack=True keeps documents apart by their segments: leave segments=True")
            return Packed(stream, self.length)
        return Windows(stream if self.segments else stream.joined(), self.length, training)

    def _load(self) -> Corpus:
        shape_free = dataclasses.replace(self, batch=1, length=1, eval_batch=None, segments=True, pack=False)
        return _load(shape_free, self.signature())


@dataclass(frozen=True, kw_only=True)
class Text(LanguageData):
    """Spec: text from a file or a folder.

    Attributes:
        path: a file (memory-mapped; its tail is for evaluation); a folder (every file below that ends in .txt, .text,
            .md, .rst or .py is a document; every n-th is for evaluation); or None, the source of the standard library
            of this Python.
        eval_fraction: the fraction of the text that is for evaluation, 0 to 0.5.
    """

    path: str | None = None
    eval_fraction: float = 0.1

    def documents(self) -> tuple[Sequence[Document], Sequence[Document]]:
        """Return training and evaluation documents."""
        return split_files(self.path, self.eval_fraction)

    def signature(self) -> Hashable:
        """Return path, size and time of every file."""
        root, files = find_files(self.path)
        found = [(file.relative_to(root).as_posix(), file.stat()) for file in files]
        return tuple((name, status.st_size, status.st_mtime_ns) for name, status in found)


@lru_cache(maxsize=4)
def _load(spec: LanguageData, signature: Hashable) -> Corpus:
    """Return the corpus of a spec, tokenised once a process."""
    del signature
    return build_corpus(spec.tokenizer, *spec.documents())
