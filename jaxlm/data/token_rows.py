"""Rows of tokens with what is to be told of them: what specs of labelled texts and of tagged words share."""

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from jaxlm.data.ragged import Bucketed, Ragged, check_widths
from jaxlm.data.tokenizers import BPE, AnyTokenizer, Bytes, Characters, Pretrained, Words, check_vocabulary
from jaxlm.errors import BadInput


@dataclass(frozen=True, eq=False)
class Part:
    """A split as rows of tokens, with counts of what was done to it."""

    rows: Ragged
    counts: dict[str, int]

    def told(self, name: str) -> str:
        """Return a line about it."""
        return f"{name} data: " + ", ".join(f"{count:,} {what}" for what, count in self.counts.items())


@dataclass(frozen=True, eq=False)
class Loaded:
    """Both splits, the classes and the tokenizer."""

    train: Part
    eval: Part
    names: tuple[str, ...]
    tokenizer: AnyTokenizer


@dataclass(frozen=True, kw_only=True)
class TokenRows:
    """Spec: rows of tokens in batches of a few widths.

    Attributes:
        batch: rows in a training batch.
        eval_batch: rows in an evaluation batch; None: as in training.
        widths: T of the batches, ascending. A row is in the narrowest that holds it (see `Bucketed`); what is longer
            than the last one, special tokens included, is cut.
        tokenizer: `Pretrained(folder)`, `Words()`, `BPE(path)`, `Bytes()` or `Characters()`.
    """

    batch: int = 32
    eval_batch: int | None = None
    widths: tuple[int, ...] = (16, 32, 64, 128)
    tokenizer: Pretrained | Words | BPE | Bytes | Characters = field(default_factory=Words)

    def loaded(self) -> Loaded:
        """Return both splits, tokenised once a process.

        Raises:
            BadInput: what cannot be read, or is no such data.
        """
        raise NotImplementedError

    def signature(self) -> Hashable:
        """Return what changes when the data change, cheaply: sizes and times of files."""
        raise NotImplementedError

    def train(self, seed: int = 0) -> Bucketed:
        """Return the training batches.

        Raises:
            BadInput: what cannot be read, or is no such data.
        """
        return Bucketed(self.loaded().train.rows, self.batch, self.widths, seed)

    def eval(self) -> Bucketed:
        """Return the evaluation batches: every row exactly once.

        Raises:
            BadInput: what cannot be read, or is no such data.
        """
        return Bucketed(self.loaded().eval.rows, self.eval_batch or self.batch, self.widths)

    def example(self) -> np.ndarray:
        """Return what a model is initialised with; int32 zeros [1, T]."""
        return np.zeros((1, self.widths[0]), np.int32)

    def names(self) -> tuple[str, ...]:
        """Return the names of the classes, in the order of their numbers."""
        return self.loaded().names

    def build_tokenizer(self) -> AnyTokenizer:
        """Return the tokenizer of these texts."""
        return self.loaded().tokenizer

    def told(self) -> list[str]:
        """Return a line about each split: how much there is, and what was changed, cut and left out."""
        return [self.loaded().train.told("train"), self.loaded().eval.told("eval")]

    def check(self, model: Any, repeat: int = 1) -> None:
        """Raise BadInput where a model (`classes`, on an `encoder`) does not fit these data; writes nothing.

        repeat: updates in one compiled program, which needs batches of one width.
        """
        check_widths(self.widths, repeat)
        names, encoder = self.names(), model.encoder
        if len(names) != model.classes:
            raise BadInput(
                f"the data has {len(names)} classes ({', '.join(names[:6])}{', ...' * (len(names) > 6)}) and the model "
                f"{model.classes}: set --model.classes {len(names)}"
            )
        check_vocabulary(self.build_tokenizer(), encoder.vocab)
        context = getattr(encoder, "context", None)
        if context is not None and self.widths[-1] > context:
            raise BadInput(f"data.widths reach {self.widths[-1]} and the model's context {context}: lower the former")
        if "types" in self.loaded().train.rows.cells and not hasattr(encoder, "types"):
            raise BadInput(f"pairs of texts need a model with token types, which {type(encoder).__name__} has not")
