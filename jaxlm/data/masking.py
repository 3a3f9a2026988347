"""Texts with hidden words, for a model that says what stood there (Devlin et al. 2019, section 3.1).

Legend: B rows, T tokens in a row, L of them text, V vocabulary.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from jaxlm.data.order import Epoch, InOrder, Shuffled, Source
from jaxlm.data.protocol import Batch, digest
from jaxlm.data.text import LanguageData, Text
from jaxlm.data.tokenizer_protocol import Frame
from jaxlm.data.tokenizers import AnyTokenizer, PretrainedTokenizer, check_vocabulary
from jaxlm.errors import BadInput


@dataclass(frozen=True)
class Masked:
    """Spec: rows of a text in which words are hidden, and the tokens that stood there as targets.

    The draws are functions of (seed, epoch, row) alone: every epoch hides other words, and batch size, workers and
    devices change nothing. An evaluation hides the same words every time.

    Attributes:
        text: `Text(...)` or `TfdsText(...)`; its `length` counts the special tokens around a row, and its tokenizer
            must have a token for what is hidden (`WordPiece()`, or `Pretrained(path)` of a BERT).
        rate: the share of words that are to be guessed.
        hidden, random: of the tokens to be guessed, the share that is hidden and the share exchanged for any other
            token; the rest stays as it was.
        whole_words: whether the pieces of a word are guessed all or none.
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
        """Return the training batches (see `MaskedRows`); `noise` is the seed of what is hidden.

        Raises:
            BadInput: as `check`.
        """
        return Shuffled(self._rows(training=True), self.text.batch, seed, noise)

    def eval(self) -> InOrder:
        """Return the evaluation batches: every token of the text once; raises as `check`."""
        batch = self.text.batch if self.text.eval_batch is None else self.text.eval_batch
        return InOrder(self._rows(training=False), batch)

    def example(self) -> np.ndarray:
        """Return what a model is initialised with; int32 zeros [1, length]."""
        return self.text.example()

    def build_tokenizer(self) -> AnyTokenizer:
        """Return the tokenizer of the text."""
        return self.text.build_tokenizer()

    def check(self, context: int, vocab: int) -> None:
        """Raise BadInput unless this can train a model of that context and vocabulary; writes nothing."""
        self.text.check(context, vocab)
        check_vocabulary(self.build_tokenizer(), vocab)
        self.train()
        self.eval()

    def _rows(self, training: bool) -> "MaskedRows":
        if not isinstance(self.text, LanguageData):
            raise BadInput(f"data.text is {self.text!r}: give Text(...) or TfdsText(...)")
        tokenizer = self.text.build_tokenizer()
        frame = tokenizer.frame()
        if self.text.length <= len(frame):
            raise BadInput(f"data.text.length is {self.text.length}, and {len(frame)} are special: raise it")
        inner = replace(self.text, length=self.text.length - len(frame))
        shares = (self.rate, self.hidden, self.random)
        return MaskedRows(inner.source(training), frame, vocabulary_of(tokenizer, self.whole_words), *shares)


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """What hiding has to know of the tokens.

    Attributes:
        mask: the id that stands where a token is hidden.
        ordinary: the ids that may be hidden or put in another's place: all but the special ones; int64.
        begins: bool [V], whether a token begins a word.
    """

    mask: int
    ordinary: np.ndarray
    begins: np.ndarray


def vocabulary_of(tokenizer: AnyTokenizer, whole_words: bool = True) -> Vocabulary:
    """Return what hiding has to know of a tokenizer; without `whole_words` every token counts as a word.

    Raises:
        BadInput: it has no token for what is hidden.
    """
    if not isinstance(tokenizer, PretrainedTokenizer) or tokenizer.special.mask is None:
        raise BadInput("the tokenizer has no [MASK]: take WordPiece() or Pretrained(path) of a BERT")
    special = [index for index in vars(tokenizer.special).values() if index is not None]
    begins = tokenizer.word_beginnings() if whole_words else np.ones(tokenizer.vocab, bool)
    return Vocabulary(tokenizer.special.mask, np.setdiff1d(np.arange(tokenizer.vocab), special), begins)


@dataclass(frozen=True, eq=False)
class MaskedRows:
    """The rows of a text between special tokens, with words hidden.

    Batches: "tokens" and "targets" int32 [B,T], what is read and what stood there; "mask" float32 [B,T], 1 where a
    token is to be guessed; "segments" int32 [B,T] where the source's rows have padding or several documents.

    Attributes:
        source: rows with "tokens" [B,L], and "segments" or "mask" where not all of them are text.
        frame: what stands around a row.    vocabulary: what may be hidden.
        rate, hidden, random: see `Masked`.

    Raises:
        BadInput: shares that are none.
    """

    source: Source
    frame: Frame
    vocabulary: Vocabulary
    rate: float = 0.15
    hidden: float = 0.8
    random: float = 0.1

    def __post_init__(self) -> None:
        if not 0 < self.rate <= 1:
            raise BadInput(f"data.rate is {self.rate}: give a share above 0, at most 1")
        if min(self.hidden, self.random) < 0 or self.hidden + self.random > 1:
            raise BadInput(f"data.hidden {self.hidden} and data.random {self.random} are no shares of one whole")

    def __len__(self) -> int:
        return len(self.source)

    def take(self, rows: np.ndarray, epoch: Epoch | None) -> Batch:
        """Return these rows as they are in that epoch, or in an evaluation."""
        found = self.source.take(rows, epoch)
        tokens, segments = framed(found["tokens"], _segments(found), self.frame)
        draws = row_draws(epoch or Epoch(0, 0), rows, len(self), tokens.shape[1])
        chosen = choose(tokens, segments, self.vocabulary, self.rate, draws[0])
        batch = {"targets": tokens, "mask": chosen.astype(np.float32)}
        batch["tokens"] = disguise(tokens, chosen, self.vocabulary, self.hidden, self.random, *draws[1:])
        return batch if "segments" not in found and "mask" not in found else {**batch, "segments": segments}

    def fingerprint(self) -> str:
        """Return a SHA-256 over the source and all that shapes the rows."""
        frame = [list(self.frame.before), list(self.frame.after)]
        known = [self.vocabulary.mask, self.vocabulary.ordinary.tolist(), self.vocabulary.begins.tolist()]
        return digest("masked", self.source.fingerprint(), frame, known, self.rate, self.hidden, self.random)


def framed(tokens_BL: np.ndarray, segments_BL: np.ndarray, frame: Frame) -> tuple[np.ndarray, np.ndarray]:
    """Return tokens and segments with special tokens before the first and after the last of a row; int32 [B,T].

    They belong to the segments that they touch. An empty row stays empty.
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
    """Return three uint64 for each place of each of `count` rows, [3,B,T]: functions of (noise seed, epoch, row)."""
    keys = epoch.noise_words(2 * count, purpose=5).reshape(count, 2)[rows]
    drawn = [np.random.Philox(key=key).random_raw(3 * length) for key in keys]
    return np.stack(drawn).reshape(len(rows), 3, length).swapaxes(0, 1)


def choose(
    tokens: np.ndarray, segments: np.ndarray, vocabulary: Vocabulary, rate: float, draws: np.ndarray
) -> np.ndarray:
    """Return which tokens are to be guessed: of each word all with probability `rate`, of special tokens none.

    A word begins with a token that begins one, with a row, and after a special token. bool [B,T].
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
    """Return the tokens as they are read: of the chosen ones a share is hidden, and a share is any ordinary token."""
    share = _uniform(which)
    drawn = vocabulary.ordinary[(other % np.uint64(len(vocabulary.ordinary))).astype(np.int64)]
    changed = np.where(share < hidden, vocabulary.mask, np.where(share < hidden + random, drawn, tokens))
    return np.where(chosen, changed, tokens).astype(np.int32)


def _uniform(words: np.ndarray) -> np.ndarray:
    """Return uint64 as float64 in [0, 1)."""
    return (words >> np.uint64(11)) * 2.0**-53


def _segments(found: Batch) -> np.ndarray:
    """Return the segments of a source's rows, which all are 1 where it has no other."""
    if "segments" in found:
        return found["segments"]
    return np.ones_like(found["tokens"]) if "mask" not in found else (found["mask"] > 0).astype(np.int32)
