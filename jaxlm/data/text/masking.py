"""Masked language modelling data: texts with hidden words (Devlin et al. 2019, section 3.1).

Legend: B rows, T tokens in a row, L of them text, V vocabulary.
"""

from dataclasses import dataclass

import numpy as np

from jaxlm.data.epoch import Epoch
from jaxlm.data.order import RowSource
from jaxlm.data.protocol import Batch, json_sha256
from jaxlm.data.tokenizers.protocol import Frame
from jaxlm.data.tokenizers.specs import AnyTokenizer, PretrainedTokenizer
from jaxlm.errors import BadInput


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """The properties of a vocabulary that masking needs.

    Attributes:
        mask: the id of the mask token.
        ordinary: int64, the ids that may be hidden or be a random replacement: all but the special tokens.
        begins: bool [V], whether a token begins a word.
    """

    mask: int
    ordinary: np.ndarray
    begins: np.ndarray


def vocabulary_of(tokenizer: AnyTokenizer, whole_words: bool = True) -> Vocabulary:
    """Return the properties of a tokenizer that masking needs.

    Without `whole_words` every token counts as a word.

    Raises:
        BadInput: the tokenizer has no mask token.
    """
    if not isinstance(tokenizer, PretrainedTokenizer) or tokenizer.special.mask is None:
        raise BadInput("the tokenizer has no [MASK]: take WordPiece() or Pretrained(path) of a BERT")
    special = [index for index in vars(tokenizer.special).values() if index is not None]
    begins = tokenizer.word_beginnings() if whole_words else np.ones(tokenizer.vocab, bool)
    return Vocabulary(tokenizer.special.mask, np.setdiff1d(np.arange(tokenizer.vocab), special), begins)


@dataclass(frozen=True, eq=False)
class MaskedRows:
    """A source of the rows of a text, between special tokens and with words hidden.

    Batches have "tokens" and "targets" int32 [B, T], the input and the original tokens; "mask" float32 [B, T], 1 where
    a token is to be predicted; and "segments" int32 [B, T] where rows have padding or several documents.

    Attributes:
        source: rows with "tokens" [B, L], and "segments" or "mask" where not all of it is text.
        frame: the special tokens around a row.
        vocabulary: says what may be hidden.
        rate, hidden, random: see `Masked`.

    Raises:
        BadInput: `rate`, `hidden` or `random` is out of range.
    """

    source: RowSource
    frame: Frame
    vocabulary: Vocabulary
    rate: float = 0.15
    hidden: float = 0.8
    random: float = 0.1

    def __post_init__(self) -> None:
        if not 0 < self.rate <= 1:
            raise BadInput(f"data.rate is {self.rate}: give a fraction above 0, at most 1")
        if min(self.hidden, self.random) < 0 or self.hidden + self.random > 1:
            raise BadInput(
                f"data.hidden {self.hidden} and data.random {self.random}: give fractions, at most 1 together"
            )

    def __len__(self) -> int:
        return len(self.source)

    def take(self, rows: np.ndarray, epoch: Epoch | None) -> Batch:
        """Return these rows as they are in that epoch, or in an evaluation."""
        found = self.source.take(rows, epoch)
        tokens, segments = framed(found["tokens"], _segments(found), self.frame)
        draws = row_draws(epoch or Epoch(0, 0), rows, len(self), tokens.shape[1])
        chosen = choose_targets(tokens, segments, self.vocabulary, self.rate, draws[0])
        batch = {"targets": tokens, "mask": chosen.astype(np.float32)}
        batch["tokens"] = disguise(tokens, chosen, self.vocabulary, self.hidden, self.random, *draws[1:])
        return batch if "segments" not in found and "mask" not in found else {**batch, "segments": segments}

    def fingerprint(self) -> str:
        """Return a SHA-256 over the source and all that shapes the rows."""
        frame = [list(self.frame.before), list(self.frame.after)]
        known = [self.vocabulary.mask, self.vocabulary.ordinary.tolist(), self.vocabulary.begins.tolist()]
        return json_sha256("masked", self.source.fingerprint(), frame, known, self.rate, self.hidden, self.random)


def framed(tokens_BL: np.ndarray, segments_BL: np.ndarray, frame: Frame) -> tuple[np.ndarray, np.ndarray]:
    """Add special tokens before the first and after the last token of each row.

    They belong to the segments that they touch. An empty row remains empty.

    Args:
        tokens_BL: ids.
        segments_BL: 1, 2, ... in each row, 0 on padding.
        frame: the special tokens.

    Returns:
        Tokens and segments, int32 [B, T].
    """
    before, after = len(frame.before), len(frame.after)
    sizes = (segments_BL > 0).sum(1)
    tokens = np.pad(tokens_BL, ((0, 0), (before, after))).astype(np.int32)
    segments = np.pad(segments_BL, ((0, 0), (before, after))).astype(np.int32)
    full = np.flatnonzero(sizes)
    tokens[full, :before] = frame.before
    segments[full, :before] = segments_BL[full, :1]
    places = before + sizes[full, None] + np.arange(after)
    tokens[full[:, None], places] = frame.after
    segments[full[:, None], places] = segments_BL[full, sizes[full] - 1][:, None]
    return tokens, segments


def row_draws(epoch: Epoch, rows: np.ndarray, count: int, length: int) -> np.ndarray:
    """Return three random words for each position of some rows: functions of (seed of the noise, epoch, row).

    Args:
        epoch: the pass over the data.
        rows: int64 [B], numbers of rows.
        count: rows of the source.
        length: T.

    Returns:
        uint64 [3, B, T].
    """
    keys = epoch.noise_words(2 * count, purpose=5).reshape(count, 2)[rows]
    drawn = [np.random.Philox(key=key).random_raw(3 * length) for key in keys]
    return np.stack(drawn).reshape(len(rows), 3, length).swapaxes(0, 1)


def choose_targets(
    tokens: np.ndarray, segments: np.ndarray, vocabulary: Vocabulary, rate: float, draws: np.ndarray
) -> np.ndarray:
    """Choose the tokens to be predicted: all tokens of a word with probability `rate`, no special tokens.

    A word begins at a token that begins one, at the start of a row or segment, and after a special token.

    Args:
        tokens: int32 [B, T].
        segments: int32 [B, T], 0 on padding.
        vocabulary: says what may be hidden and where words begin.
        rate: the fraction of words.
        draws: uint64 [B, T], random words.

    Returns:
        bool [B, T].
    """
    ordinary = np.zeros(len(vocabulary.begins), bool)
    ordinary[vocabulary.ordinary] = True
    maskable = ordinary[tokens] & (segments > 0)
    begins = vocabulary.begins[tokens]
    begins[:, 0] = True
    begins[:, 1:] |= ~maskable[:, :-1] | (segments[:, 1:] != segments[:, :-1])
    first = np.maximum.accumulate(np.where(begins, np.arange(tokens.shape[1]), 0), axis=1)
    return maskable & (np.take_along_axis(_uniform(draws), first, axis=1) < rate)


def disguise(
    tokens: np.ndarray,
    chosen: np.ndarray,
    vocabulary: Vocabulary,
    hidden: float,
    random: float,
    which: np.ndarray,
    other: np.ndarray,
) -> np.ndarray:
    """Replace a fraction of the chosen tokens by the mask token, and a fraction by random tokens.

    Args:
        tokens: int32 [B, T].
        chosen: bool [B, T].
        vocabulary: has the mask token and the random ones.
        hidden: the fraction replaced by the mask token.
        random: the fraction replaced by random tokens.
        which: uint64 [B, T], random words that choose between these.
        other: uint64 [B, T], random words that choose the random tokens.

    Returns:
        int32 [B, T], the input of the model.
    """
    share = _uniform(which)
    drawn = vocabulary.ordinary[(other % np.uint64(len(vocabulary.ordinary))).astype(np.int64)]
    changed = np.where(share < hidden, vocabulary.mask, np.where(share < hidden + random, drawn, tokens))
    return np.where(chosen, changed, tokens).astype(np.int32)


def _uniform(words: np.ndarray) -> np.ndarray:
    """Return uint64 as float64 in [0, 1)."""
    return (words >> np.uint64(11)) * 2.0**-53


def _segments(found: Batch) -> np.ndarray:
    """Return the segments of a batch; 1 on all text where it has none."""
    if "segments" in found:
        return found["segments"]
    return np.ones_like(found["tokens"]) if "mask" not in found else (found["mask"] > 0).astype(np.int32)
