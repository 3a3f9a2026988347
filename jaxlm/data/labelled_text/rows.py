"""What the specs of labelled texts and of tagged words share: rows of tokens in batches of a few widths."""

import json
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from jaxlm.data.model_checks import check_classes, check_tokens, first_names
from jaxlm.data.protocol import summary_line
from jaxlm.data.ragged import Bucketed, Ragged, check_widths
from jaxlm.data.tokenizers.protocol import encode_rows
from jaxlm.data.tokenizers.specs import BPE, AnyTokenizer, Bytes, Characters, Pretrained, Words
from jaxlm.errors import BadInput


@dataclass(frozen=True, eq=False)
class Part:
    """A split as rows of tokens.

    Attributes:
        rows: the rows.
        counts: what is in it, and what was changed, cut and left out, for a line at the start of a run.
    """

    rows: Ragged
    counts: dict[str, int]


@dataclass(frozen=True, eq=False)
class Loaded:
    """Both splits, tokenised.

    Attributes:
        train: the training split.
        eval: the evaluation split.
        names: of the classes.
        tokenizer: made the tokens.
    """

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
        widths: T of the batches, ascending. A row is in the narrowest one that it fits (see `Bucketed`); a row longer
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
            BadInput: the data cannot be read, or have another form.
        """
        raise NotImplementedError

    def signature(self) -> Hashable:
        """Return what changes when the data change, without reading them: sizes and times of files."""
        raise NotImplementedError

    def train(self, seed: int = 0, noise: int | None = None) -> Bucketed:
        """Return the training batches; `noise` seeds their keys, where they have some.

        Raises:
            BadInput: the data cannot be read, or have another form.
        """
        return Bucketed(self.loaded().train.rows, self.batch, self.widths, seed, noise)

    def eval(self) -> Bucketed:
        """Return the evaluation batches: every row exactly once.

        Raises:
            BadInput: the data cannot be read, or have another form.
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

    def artefacts(self) -> dict[str, str]:
        """Return tokenizer.json and classes.json."""
        classes = json.dumps({"names": list(self.names())}, indent=1) + "\n"
        return {"tokenizer.json": self.build_tokenizer().to_json(), "classes.json": classes}

    def log_lines(self) -> list[str]:
        """Return a line about each split, with what was changed, cut and left out, and one about the classes."""
        found = self.loaded()
        lines = [summary_line("train", found.train.counts), summary_line("eval", found.eval.counts)]
        return [*lines, f"classes: {len(found.names)} ({first_names(found.names)})"]

    def check(self, model: Any, repeat: int = 1) -> None:
        """Raise BadInput where the data cannot be read or do not fit a model (`classes`, on an `encoder`).

        Args:
            model: the model.
            repeat: updates in one compiled program, which needs batches of one width.
        """
        check_widths(self.widths, repeat)
        check_classes(model, self.names())
        check_tokens(model, self.build_tokenizer(), self.widths[-1], "the last of data.widths")
        encoder = getattr(model, "encoder", model)
        if "types" in self.loaded().train.rows.cells and not hasattr(encoder, "types"):
            raise BadInput(f"pairs of texts need a model with token types, and {type(encoder).__name__} has none")


def to_pieces(
    tokenizer: AnyTokenizer, sentences: Sequence[Sequence[str]], where: Callable[[int, int], str]
) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
    """Yield for each sentence of words the ids, for each id the number of its word, and how many words had no piece.

    A word of no piece becomes the unknown token, so that every word has a first piece.

    Args:
        tokenizer: encodes the words.
        sentences: the words of each sentence.
        where: sentence and word -> their place for a message.

    Raises:
        BadInput: a word that the tokenizer cannot encode, or one of no piece where there is no unknown token.
    """
    try:
        encoded = tokenizer.encode_words(sentences)
    except BadInput:
        for number, words in enumerate(sentences):
            encode_rows(tokenizer, words, partial(where, number))
        raise
    unknown = tokenizer.special.unk
    for number, (words, (ids, owners)) in enumerate(zip(sentences, encoded, strict=True)):
        bare = sorted({*range(len(words))} - {*owners.tolist()})
        if bare and unknown is None:
            raise BadInput(
                f"{where(number, bare[0])}: the tokenizer has no piece for {words[bare[0]]!r}, and no unknown token: "
                "leave the word out, or take another tokenizer"
            )
        places = np.searchsorted(owners, bare)
        yield np.insert(ids, places, unknown or 0), np.insert(owners, places, bare), len(bare)
