"""The spec of masked language modelling data: rows of a text in which words are hidden."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from jaxlm.data.order import InOrder, Shuffled
from jaxlm.data.text.masking import MaskedRows, vocabulary_of
from jaxlm.data.text.specs import LanguageData, Text
from jaxlm.data.tokenizers.specs import AnyTokenizer
from jaxlm.errors import BadInput


@dataclass(frozen=True)
class Masked:
    """Spec: rows of a text in which words are hidden, with the hidden tokens as targets.

    What is hidden is a function of (seed, epoch, row): every epoch hides other words, whatever the batch size, the
    workers and the devices. An evaluation hides the same words every time.

    Attributes:
        text: `Text(...)` or `TfdsText(...)`; its `length` includes the special tokens around a row, and its tokenizer
            must have a mask token (`WordPiece()`, or `Pretrained(path)` of a BERT).
        rate: the fraction of words to be predicted.
        hidden, random: of the tokens to be predicted, the fraction that is replaced by the mask token and the
            fraction that is replaced by a random token; the others are left as they are.
        whole_words: whether all pieces of a word are predicted, or none.
    """

    text: Any = field(default_factory=Text)
    rate: float = 0.15
    hidden: float = 0.8
    random: float = 0.1
    whole_words: bool = True

    @property
    def batch(self) -> int:
        """Return the rows in a training batch."""
        return self.text.batch

    @property
    def length(self) -> int:
        """Return the tokens in a row."""
        return self.text.length

    def train(self, seed: int = 0, noise: int | None = None) -> Shuffled:
        """Return the training batches (see `MaskedRows`); `noise` seeds what is hidden.

        Raises:
            BadInput: as `check`.
        """
        return Shuffled(self._rows(training=True), self.text.batch, seed, noise)

    def eval(self) -> InOrder:
        """Return the evaluation batches: every token of the text once.

        Raises:
            BadInput: as `check`.
        """
        batch = self.text.batch if self.text.eval_batch is None else self.text.eval_batch
        return InOrder(self._rows(training=False), batch)

    def example(self) -> np.ndarray:
        """Return what a model is initialised with; int32 zeros [1, length]."""
        return self.text.example()

    def build_tokenizer(self) -> AnyTokenizer:
        """Return the tokenizer of the text."""
        return self.text.build_tokenizer()

    def artefacts(self) -> dict[str, str]:
        """Return tokenizer.json."""
        return self.text.artefacts()

    def log_lines(self) -> list[str]:
        """Return the lines of the text, and how much of it is hidden."""
        words = "words" if self.whole_words else "tokens"
        return [*self._inner().log_lines(), f"to be predicted: {self.rate:.0%} of {words}"]

    def throughput(self) -> tuple[int, str]:
        """Return what one training batch counts as."""
        return self.text.throughput()

    def check(self, model: Any, repeat: int = 1) -> None:
        """Raise BadInput where the text cannot be read or hidden, or does not fit a model (`vocab`, `context`)."""
        self.text.check(model, repeat)
        self.train()
        self.eval()

    def _inner(self) -> LanguageData:
        """Return the text in rows that leave room for the special tokens around them."""
        if not isinstance(self.text, LanguageData):
            raise BadInput(f"data.text is {self.text!r}: give Text(...) or TfdsText(...)")
        frame = self.text.build_tokenizer().frame()
        if self.text.length <= len(frame):
            raise BadInput(f"data.text.length is {self.text.length}, and {len(frame)} are special: raise it")
        return replace(self.text, length=self.text.length - len(frame))

    def _rows(self, training: bool) -> "MaskedRows":
        inner, tokenizer = self._inner(), self.text.build_tokenizer()
        vocabulary = vocabulary_of(tokenizer, self.whole_words)
        shares = (self.rate, self.hidden, self.random)
        source = replace(inner.source(training), shift=0)
        return MaskedRows(source, tokenizer.frame(), vocabulary, *shares)
