"""Language-model data from text: what the specs share, and `Text` for files and folders."""

import dataclasses
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from jaxlm.data.corpus import Corpus, build_corpus
from jaxlm.data.documents import Document, find_files, split_files
from jaxlm.data.order import InOrder, Shuffled, Source
from jaxlm.data.packing import Packed
from jaxlm.data.tokenizers import BPE, AnyTokenizer, Bytes, Characters, Pretrained, WordPiece, check_vocabulary
from jaxlm.data.windows import Windows
from jaxlm.errors import BadInput


@dataclass(frozen=True, kw_only=True)
class LanguageData:
    """Spec: rows of `length` tokens of a text, for a model of next tokens.

    Attributes:
        batch: rows in a training batch.
        length: tokens in a row.
        tokenizer: `Bytes()`, `Characters()`, `BPE(path)`, `WordPiece(size)` or `Pretrained(folder)`.
        eval_batch: rows in an evaluation batch; None: as in training.
        segments: whether documents are kept apart ("segments" and "mask" in the batches); has no effect on a corpus
            of one document, whose training batches have neither.
        pack: whether rows hold whole documents, packed, instead of windows of the running text.
    """

    batch: int = 32
    length: int = 128
    tokenizer: Bytes | Characters | BPE | WordPiece | Pretrained = field(default_factory=Bytes)
    eval_batch: int | None = None
    segments: bool = True
    pack: bool = False

    def documents(self) -> tuple[Sequence[Document], Sequence[Document]]:
        """Return training and evaluation documents."""
        raise NotImplementedError

    def signature(self) -> Hashable:
        """Return what changes when the documents change, cheaply: sizes and times of files."""
        raise NotImplementedError

    def train(self, seed: int = 0) -> Shuffled:
        """Return the training batches; "tokens" and "targets" int32 [batch, length] and so on (see `Windows`).

        Raises:
            BadInput: the text cannot be read, or is too short for one batch.
        """
        return Shuffled(self.source(training=True), self.batch, seed)

    def eval(self) -> InOrder:
        """Return the evaluation batches: every target exactly once.

        Raises:
            BadInput: the text cannot be read, or there is none for evaluation.
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

    def check(self, context: int, vocab: int) -> None:
        """Raise BadInput unless this can train a model of that context and vocabulary; writes nothing.

        Reads the whole text, once a process.
        """
        if self.length > context:
            raise BadInput(
                f"rows of {self.length} tokens (data.length) are longer than the model's context of {context}: "
                "lower the one or raise the other"
            )
        check_vocabulary(self.build_tokenizer(), vocab)
        self.train()
        if self._load().evaluation is not None:
            self.eval()

    def source(self, training: bool) -> Source:
        """Return the rows that the batches are made of; raises as `train` and `eval`."""
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
            .md, .rst or .py, each a document; every n-th for evaluation); or None, the source of this Python's own
            standard library.
        eval_share: how much of the text is for evaluation, 0 to 0.5.
    """

    path: str | None = None
    eval_share: float = 0.1

    def documents(self) -> tuple[Sequence[Document], Sequence[Document]]:
        """Return training and evaluation documents."""
        return split_files(self.path, self.eval_share)

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
