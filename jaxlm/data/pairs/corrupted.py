"""The spec of span corruption: texts in which spans are hidden, as pairs of a source and a target."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from jaxlm.data.model_checks import check_tokens
from jaxlm.data.order import InOrder, Shuffled
from jaxlm.data.pairs.rows import TextPairs
from jaxlm.data.pairs.spans import CorruptedRows, Noise, Sizes, sentinels_of
from jaxlm.data.text.clean import Clean
from jaxlm.data.text.documents import Document
from jaxlm.data.text.specs import LanguageData, Text
from jaxlm.data.tokenizers.specs import AnyTokenizer, Subwords
from jaxlm.errors import BadInput


@dataclass(frozen=True)
class SpanCorruption:
    """Spec: rows of running text in which spans are hidden, which are the targets (Raffel et al. 2020, section 3.1.4).

    What is hidden is a function of (seed, epoch, row): every epoch hides other spans, whatever the batch size, the
    workers and the devices. An evaluation hides the same spans every time.

    Attributes:
        text: `Text(...)`, `TfdsText(...)` or `SourceText(...)`; its `length` is that of the sources, and rows of text
            are longer by what is hidden (568 tokens for 512, as in T5). Its tokenizer must have sentinels
            (`Subwords(size, sentinels)`, or `Pretrained(path)` of a T5).
        rate: the fraction of the tokens that is hidden.
        span: the mean number of tokens in a hidden span.
    """

    text: Any = field(default_factory=lambda: Text(tokenizer=Subwords(sentinels=100)))
    rate: float = 0.15
    span: float = 3.0

    @property
    def batch(self) -> int:
        """Return the rows in a training batch."""
        return self.text.batch

    @property
    def eval_batch(self) -> int | None:
        """Return the rows in an evaluation batch; None: as in training."""
        return self.text.eval_batch

    @property
    def widths(self) -> tuple[int, ...]:
        """Return the tokens in a source."""
        return (self.sizes.source,)

    @property
    def lower(self) -> bool:
        """Return whether texts are lower-cased."""
        return isinstance(self.text, SourceText) and self.text.pairs.lower

    @property
    def clean(self) -> Clean:
        """Return the operations on texts before they are tokenised."""
        return self.text.pairs.clean if isinstance(self.text, SourceText) else Clean()

    @property
    def sizes(self) -> Sizes:
        """Return the tokens of a row, of its source and of its target."""
        return Noise(self.rate, self.span).fitting(self.text.length)

    def train(self, seed: int = 0, noise: int | None = None) -> Shuffled:
        """Return the training batches (see `CorruptedRows`); `noise` seeds what is hidden.

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

    def example(self) -> tuple[np.ndarray, np.ndarray]:
        """Return what a model is initialised with; int32 zeros [1, S] and [1, T] for source and target."""
        return np.zeros((1, self.sizes.source), np.int32), np.zeros((1, self.sizes.target), np.int32)

    def build_tokenizer(self) -> AnyTokenizer:
        """Return the tokenizer of the text."""
        return self.text.build_tokenizer()

    def artefacts(self) -> dict[str, str]:
        """Return tokenizer.json."""
        return self.text.artefacts()

    def log_lines(self) -> list[str]:
        """Return the lines of the text, and what is hidden of it."""
        text, source, target = self.sizes
        hidden, spans = Noise(self.rate, self.span).counts(text)
        line = f"hidden: {hidden} of {text} tokens in {spans} spans; sources of {source} tokens, targets of {target}"
        return [*self._inner().log_lines(), line]

    def throughput(self) -> tuple[int, str]:
        """Return what one training batch counts as."""
        return self.batch * self.sizes.text, "tokens"

    def check(self, model: Any, repeat: int = 1) -> None:
        """Raise BadInput where the text cannot be read or hidden, or does not fit a model (`vocab`, `context`)."""
        del repeat
        self.train()
        self.eval()
        check_tokens(model, self.build_tokenizer(), max(self.sizes[1:]), "data.text.length")

    def _inner(self) -> LanguageData:
        """Return the text as running rows."""
        if not isinstance(self.text, LanguageData) or self.text.pack:
            raise BadInput(f"data.text is {self.text!r}: give Text(...), TfdsText(...) or SourceText(...), not packed")
        return replace(self.text, length=self.sizes.text, segments=False)

    def _rows(self, training: bool) -> CorruptedRows:
        inner, tokenizer = self._inner(), self.build_tokenizer()
        sentinels, end = sentinels_of(tokenizer), tokenizer.separator
        if end is None:
            raise BadInput("the tokenizer has no token that ends a text: take Subwords(size, sentinels=100)")
        source = replace(inner.source(training), shift=0)
        return CorruptedRows(source, Noise(self.rate, self.span), self.text.length, sentinels, end)


@dataclass(frozen=True, kw_only=True)
class SourceText(LanguageData):
    """Spec: the sources of pairs as documents, such as the texts that are to be summarised.

    Attributes:
        pairs: their spec, of which only the reading and the cleaning count.
    """

    pairs: Any

    def documents(self) -> tuple[Sequence[Document], Sequence[Document]]:
        """Return training and evaluation documents."""
        train, evaluation = map(self._documents, self.pairs.load())
        return train, evaluation

    def signature(self) -> Hashable:
        """Return what changes when the pairs change."""
        return self.pairs.signature()

    def _documents(self, pairs: TextPairs) -> list[Document]:
        texts = self.pairs.normalise(pairs.sources)
        return [
            Document(pairs.where(number), partial(np.frombuffer, text.encode(), np.uint8))
            for number, text in enumerate(texts)
        ]
