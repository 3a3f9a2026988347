"""Span corruption: spans of a text are hidden, and written one after the other (Raffel et al. 2020, section 3.1.4).

B rows, L tokens of a text, S of its source, T of its target.

    text      Thank you for inviting me to your party last week
    source    Thank you <extra_id_0> me to your party <extra_id_1> week
    target    <extra_id_0> for inviting <extra_id_1> last
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from jaxlm.data.epoch import Epoch
from jaxlm.data.order import RowSource
from jaxlm.data.protocol import Batch, json_sha256
from jaxlm.data.text.masking import row_draws
from jaxlm.data.tokenizers.protocol import Tokenizer, sentinel_name
from jaxlm.errors import BadInput


@dataclass(frozen=True)
class Noise:
    """How much of a text is hidden.

    Attributes:
        rate: the fraction of the tokens.
        span: the mean number of tokens in a span.

    Raises:
        BadInput: `rate` is not between 0 and 1, or `span` below 1.
    """

    rate: float = 0.15
    span: float = 3.0

    def __post_init__(self) -> None:
        if not 0 < self.rate < 1:
            raise BadInput(f"data.rate is {self.rate}: give a fraction between 0 and 1")
        if not self.span >= 1:
            raise BadInput(f"data.span is {self.span}: give a mean length of at least 1")

    def counts(self, size: int) -> tuple[int, int]:
        """Return how many tokens of a text of at least two are hidden, and in how many spans."""
        hidden = min(max(round(size * self.rate), 1), size - 1)
        return hidden, min(max(round(hidden / self.span), 1), hidden, size - hidden)

    def sizes(self, size: int) -> "Sizes":
        """Return the lengths of source and target of a text of `size` tokens, their end tokens included."""
        hidden, spans = self.counts(size)
        return Sizes(size, size - hidden + spans + 1, hidden + spans + 1)

    def fitting(self, length: int) -> "Sizes":
        """Return the longest text whose source has at most `length` tokens, so that full rows have no padding.

        Raises:
            BadInput: not even two tokens fit.
        """
        text = 2
        while self.sizes(text + 1).source <= length:
            text += 1
        if self.sizes(text).source > length:
            raise BadInput(f"data.text.length is {length}: a source with a hidden span needs at least 3 tokens")
        return self.sizes(text)


class Sizes(NamedTuple):
    """The tokens of a text and of what is made of it, end tokens included."""

    text: int
    source: int
    target: int


def sentinels_of(tokenizer: Tokenizer) -> np.ndarray:
    """Return the ids that stand for spans 0, 1, ...; int32, in T5's vocabularies descending from the last id.

    Raises:
        BadInput: the tokenizer has none.
    """
    found: list[int] = []
    while (index := tokenizer.token(sentinel_name(len(found)))) is not None:
        found.append(index)
    if not found:
        raise BadInput(
            f"the tokenizer has no {sentinel_name(0)}: take Subwords(size, sentinels=100), a file of "
            "`scripts/train_tokenizer.py --sentinels 100`, or Pretrained(path) of a T5"
        )
    return np.array(found, np.int32)


def draw_spans(size: int, noise: Noise, draws: np.ndarray) -> np.ndarray:
    """Draw which tokens of a text are hidden: spans of hidden tokens alternate with others, which begin.

    All ways to split the hidden tokens, and the others, into that many spans of at least one token are equally likely.

    Args:
        size: L, the tokens of the text, at least 2.
        noise: how many of them are hidden.
        draws: uint64 [2, at least L], random words.

    Returns:
        bool [L], True where a token is hidden.
    """
    hidden, spans = noise.counts(size)
    kept, lost = _split(size - hidden, spans, draws[0]), _split(hidden, spans, draws[1])
    return np.repeat(np.tile([False, True], spans), np.stack([kept, lost], axis=1).ravel())


def _split(total: int, parts: int, words: np.ndarray) -> np.ndarray:
    """Return `parts` positive sizes that add up to `total`: cut at those places whose random words are the smallest."""
    cuts = np.sort(np.argsort(words[: total - 1], kind="stable")[: parts - 1]) + 1
    return np.diff([0, *cuts, total])


def corrupt(tokens_L: np.ndarray, hidden_L: np.ndarray, sentinels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return source and target: span k of hidden tokens is sentinel k in the source, and follows it in the target.

    Law: `restore(*corrupt(tokens, hidden, sentinels), sentinels)` is the text.

    Args:
        tokens_L: a text, without sentinels.
        hidden_L: bool, what is hidden.
        sentinels: at least one for each span.

    Returns:
        Source and target, int32, without end tokens.
    """
    begins = hidden_L & ~np.pad(hidden_L[:-1], (1, 0))
    marks = sentinels[np.cumsum(begins)[begins] - 1]
    source = np.where(begins, 0, tokens_L).astype(np.int32)
    source[begins] = marks
    hidden_places = np.flatnonzero(begins)
    order = np.searchsorted(np.flatnonzero(hidden_L), hidden_places)
    return source[~hidden_L | begins], np.insert(tokens_L[hidden_L], order, marks).astype(np.int32)


def restore(source: np.ndarray, target: np.ndarray, sentinels: np.ndarray) -> np.ndarray:
    """Return the text that was corrupted: each sentinel of the source gives way to what follows it in the target.

    Args:
        source: int32, without an end token.
        target: int32, without an end token.
        sentinels: as they were given to `corrupt`.
    """
    marks = np.flatnonzero(np.isin(target, sentinels))
    spans = {int(span[0]): span[1:] for span in np.split(target, marks)[1:]}
    empty = target[:0]
    pieces = [spans.get(int(token), empty) if token in sentinels else [token] for token in source]
    return np.concatenate([empty, *pieces]).astype(np.int32)


@dataclass(frozen=True, eq=False)
class CorruptedRows:
    """A source of the rows of a text with hidden spans.

    Batches have the sources as "tokens" int32 [B, S] and "source_segments", and the targets as "targets" int32 [B, T]
    and "target_segments", as pairs of texts have them (`jaxlm.data.pairs`); each ends with the end token.

    Attributes:
        source: rows with "tokens" [B, L], and "mask" where not all of it is text.
        noise: how much is hidden.
        length: S, of rows that are full.
        sentinels: see `sentinels_of`.
        end: the token that ends sources and targets.

    Raises:
        BadInput: a full row has more spans than there are sentinels.
    """

    source: RowSource
    noise: Noise
    length: int
    sentinels: np.ndarray
    end: int

    def __post_init__(self) -> None:
        _, spans = self.noise.counts(self._sizes.text)
        if spans > len(self.sentinels):
            raise BadInput(
                f"a row has {spans} hidden spans and the tokenizer {len(self.sentinels)} sentinels: lower "
                "data.text.length or data.rate, or raise data.span"
            )

    @property
    def _sizes(self) -> Sizes:
        return self.noise.fitting(self.length)

    def __len__(self) -> int:
        return len(self.source)

    def take(self, rows: np.ndarray, epoch: Epoch | None) -> Batch:
        """Return these rows as they are in that epoch, or in an evaluation."""
        found, sizes = self.source.take(rows, epoch), self._sizes
        real_B = np.full(len(rows), sizes.text) if "mask" not in found else (found["mask"] > 0).sum(1)
        draws = row_draws(epoch or Epoch(0, 0), rows, len(self), sizes.text)[:2]
        widths = {"tokens": sizes.source, "targets": sizes.target}
        batch = {name: np.zeros((len(rows), width), np.int32) for name, width in widths.items()}
        segments = {name: np.zeros_like(values) for name, values in batch.items()}
        for row, (tokens, size) in enumerate(zip(found["tokens"], real_B, strict=True)):
            if size < 2:
                continue  # nothing is hidden in one token
            hidden = draw_spans(size, self.noise, draws[:, row])
            for name, part in zip(batch, corrupt(tokens[:size], hidden, self.sentinels), strict=True):
                batch[name][row, : len(part) + 1] = [*part, self.end]
                segments[name][row, : len(part) + 1] = 1
        return {**batch, "source_segments": segments["tokens"], "target_segments": segments["targets"]}

    def fingerprint(self) -> str:
        """Return a SHA-256 over the source and all that shapes the rows."""
        shape = [self.noise.rate, self.noise.span, self.length, self.sentinels.tolist(), self.end]
        return json_sha256("spans", self.source.fingerprint(), shape)
