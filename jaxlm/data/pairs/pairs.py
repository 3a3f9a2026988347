"""Pairs of texts as rows of tokens: what all specs share. The specs themselves are in `sources`.

B batch, S and T tokens in a row of a source and of a target. Batches have the sources as "tokens" and their
"source_segments" int32 [B, S], the targets as "targets" and their "target_segments" int32 [B, T] (segments are 1, or 0
on padding), and "row" int32 [B], the number of the pair in its split, and "mask" float32 [B].
"""

import dataclasses
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain
from typing import Literal

import numpy as np

from jaxlm.data.model_checks import check_tokens
from jaxlm.data.pairs.rows import PairRows, TextPairs, check_pairs, encode_pairs
from jaxlm.data.protocol import summary_line
from jaxlm.data.ragged import Bucketed, check_widths
from jaxlm.data.text.clean import Clean
from jaxlm.data.tokenizers.specs import BPE, AnyTokenizer, Bytes, Pretrained, Subwords, Symbols
from jaxlm.errors import BadInput


@dataclass(frozen=True, eq=False)
class LoadedPairs:
    """Both splits, tokenised.

    Attributes:
        train: the training split.
        eval: the evaluation split.
        tokenizer: made the tokens of both sides; its separator begins and ends a target.
    """

    train: PairRows
    eval: PairRows
    tokenizer: AnyTokenizer


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Spec: pairs of texts in batches of a few widths, both sides by one tokenizer.

    A row is in the narrowest width that holds both of its texts, each with an end token. A training pair that is longer
    than the last width is left out, or its source is cut; of an evaluation pair the source is cut, and the target for
    its loss.

    Attributes:
        batch: pairs in a training batch; with `tokens`, of which a batch has a multiple.
        tokens: places for tokens of sources in a training batch, at most: batches of short pairs have more of them.
            None: every batch has `batch` pairs.
        eval_batch: pairs in an evaluation batch; None: as in training.
        widths: S of the batches, ascending (see `Bucketed`).
        target_widths: T of the batches, one for each of `widths`, such as for summaries; none: as the sources.
        overlong: what to do with the source of a training pair that is longer than the last width: "skip" the pair, or
            "cut" the source.
        lower: whether texts are lower-cased.
        clean: operations on the texts before they are tokenised.
        tokenizer: `Subwords(size)`, `BPE(path)`, `Pretrained(folder)`, `Bytes()` or `Symbols()`; it needs a token that
            ends a text.
    """

    batch: int = 64
    tokens: int | None = None
    eval_batch: int | None = None
    widths: tuple[int, ...] = (16, 32, 64, 128)
    target_widths: tuple[int, ...] = ()
    overlong: Literal["skip", "cut"] = "skip"
    lower: bool = False
    clean: Clean = field(default_factory=lambda: Clean(spaces=True, strip=True))
    tokenizer: Subwords | BPE | Pretrained | Bytes | Symbols = field(default_factory=Subwords)

    def load(self) -> tuple[TextPairs, TextPairs]:
        """Return the pairs for training and for evaluation."""
        raise NotImplementedError

    def signature(self) -> Hashable:
        """Return what changes when the data change, without reading them: sizes and times of files."""
        raise NotImplementedError

    def loaded(self) -> LoadedPairs:
        """Return both splits, tokenised once a process.

        Raises:
            BadInput: the texts cannot be read, or a text is empty.
        """
        self.check_widths()
        source, target = self.width_pairs[-1]
        spec = dataclasses.replace(
            self, batch=1, tokens=None, eval_batch=None, widths=(source,), target_widths=(target,)
        )
        return _load(spec, self.signature())

    def train(self, seed: int = 0, noise: int | None = None) -> Bucketed:
        """Return the training batches."""
        rows = self.loaded().train.rows.with_widths(self.width_pairs)
        return Bucketed(rows, self.batch, self.widths, seed, noise, places=self.tokens)

    def eval(self) -> Bucketed:
        """Return the evaluation batches: every pair exactly once."""
        rows = self.loaded().eval.rows.with_widths(self.width_pairs)
        return Bucketed(rows, self.eval_batch or self.batch, self.widths)

    def references(self) -> Sequence[str]:
        """Return the targets of the evaluation, by the "row" of a batch."""
        return self.loaded().eval.targets

    def example(self) -> tuple[np.ndarray, np.ndarray]:
        """Return what a model is initialised with; int32 zeros [1, S] and [1, T] for source and target."""
        source, target = self.width_pairs[0]
        return np.zeros((1, source), np.int32), np.zeros((1, target), np.int32)

    def build_tokenizer(self) -> AnyTokenizer:
        """Return the tokenizer of these texts."""
        return self.loaded().tokenizer

    def artefacts(self) -> dict[str, str]:
        """Return tokenizer.json."""
        return {"tokenizer.json": self.build_tokenizer().to_json()}

    def log_lines(self) -> list[str]:
        """Return a line about each split, with what was cut and left out."""
        found = self.loaded()
        return [summary_line("train", found.train.counts), summary_line("eval", found.eval.counts)]

    def throughput(self) -> tuple[int, str]:
        """Return what one training batch counts as."""
        return (self.batch, "pairs") if self.tokens is None else (self.tokens, "source tokens")

    def check(self, model: object, repeat: int = 1) -> None:
        """Raise BadInput where the data cannot be read or do not fit a model.

        Args:
            model: the model.
            repeat: updates in one compiled program, which needs batches of one width.
        """
        self.check_widths(repeat)
        check_tokens(model, self.build_tokenizer(), max(self.width_pairs[-1]), "the last of data.widths")

    @property
    def width_pairs(self) -> tuple[tuple[int, int], ...]:
        """Return S and T of the batches."""
        return tuple(zip(self.widths, self.target_widths or self.widths, strict=True))

    def check_widths(self, repeat: int = 1) -> None:
        """Raise BadInput unless the widths of both sides ascend, target widths with repetitions, and a batch fits."""
        check_widths(self.widths, repeat)
        if self.tokens is not None and self.tokens < self.batch * self.widths[-1]:
            raise BadInput(
                f"data.tokens is {self.tokens}, and {self.batch} pairs of {self.widths[-1]} tokens are more: raise it, "
                "or lower data.batch"
            )
        targets = self.target_widths or self.widths
        if len(targets) != len(self.widths) or list(targets) != sorted(targets) or targets[0] < 1:
            raise BadInput(
                f"data.target_widths is {targets} and data.widths {self.widths}: give one for each width, of at least "
                "1 and not descending, or none"
            )

    def normalise(self, texts: Sequence[str]) -> list[str]:
        """Return texts as they are tokenised: cleaned, and in lower case where that is asked for."""
        cleaned, _ = self.clean(texts)
        return [text.lower() for text in cleaned] if self.lower else cleaned


@lru_cache(maxsize=4)
def _load(spec: Pairs, signature: Hashable) -> LoadedPairs:
    """Return the pairs of a spec, tokenised once a process."""
    del signature
    splits = []
    for name, part in zip(("training", "evaluation"), spec.load(), strict=True):
        if not len(part.sources):
            raise BadInput(f"the {name} split has no pairs: add some")
        pair = TextPairs(spec.normalise(part.sources), spec.normalise(part.targets), part.where)
        check_pairs(pair)
        splits.append(pair)
    train, evaluation = splits
    tokenizer = spec.tokenizer.build(chain(train.sources, train.targets))
    if tokenizer.separator is None:
        raise BadInput(f"{type(spec.tokenizer).__name__} has no token that ends a text: take Subwords() or BPE(path)")
    width, cut = spec.width_pairs[-1], spec.overlong == "cut"
    trained = encode_pairs(tokenizer, train, width, cut=(cut, False))
    evaluated = encode_pairs(tokenizer, evaluation, width, cut=(True, True))
    return LoadedPairs(trained, evaluated, tokenizer)
