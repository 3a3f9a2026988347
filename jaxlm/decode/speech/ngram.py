"""A language model of counted n-grams, for searches on the host."""

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from jaxlm.errors import BadInput

Gram = tuple[int, ...]


@dataclass(frozen=True)
class NGram:
    """Probabilities of the next token given the `order - 1` before it (Witten & Bell 1991; Chen & Goodman 1999, 2.5).

    p(w | h) = (c(h w) + n(h) p(w | h')) / (c(h) + n(h)), with c counts, n(h) the number of different tokens after h,
    and h' the history without its first token; below the empty history all tokens are equally probable.

    Law: the probabilities of all tokens and the end sum to 1 after any history.

    Attributes:
        order: tokens of the longest grams.
        vocab: number of tokens V; the end of a text is the token V, and its beginning V + 1.
        counts: (gram, how often) for grams of all lengths up to `order`, the last token never the beginning.
    """

    order: int
    vocab: int
    counts: tuple[tuple[Gram, int], ...]

    @classmethod
    def count(cls, texts: Sequence[Sequence[int]], order: int, vocab: int) -> "NGram":
        """Count the grams of texts.

        Raises:
            BadInput: there are no texts, or the order is below 1.
        """
        if not texts or order < 1:
            raise BadInput(f"an n-gram model of order {order} of {len(texts)} texts: give both, at least 1")
        counts: Counter[Gram] = Counter()
        for text in texts:
            whole = (*[vocab + 1] * (order - 1), *text, vocab)
            for end in range(order, len(whole) + 1):
                counts.update(whole[end - length : end] for length in range(1, order + 1))
        return cls(order, vocab, tuple(sorted(counts.items())))

    @cached_property
    def _tables(self) -> tuple[dict[Gram, int], Counter[Gram], Counter[Gram]]:
        """The counts of grams, how often each history occurs, and how many different tokens follow it."""
        totals: Counter[Gram] = Counter()
        kinds: Counter[Gram] = Counter()
        for gram, count in self.counts:
            totals[gram[:-1]] += count
            kinds[gram[:-1]] += 1
        return dict(self.counts), totals, kinds

    def log_prob(self, prefix: Gram, token: int | None) -> float:
        """Return the log-probability of a token, or of the end (None), after the tokens of a text so far."""
        history = (*[self.vocab + 1] * (self.order - 1), *prefix)[len(prefix) :] if self.order > 1 else ()
        return math.log(self._probability(history, self.vocab if token is None else token))

    def _probability(self, history: Gram, token: int) -> float:
        counts, totals, kinds = self._tables
        lower = self._probability(history[1:], token) if history else 1 / (self.vocab + 1)
        seen = totals[history]
        if not seen:
            return lower
        return (counts.get((*history, token), 0) + kinds[history] * lower) / (seen + kinds[history])

    def to_json(self) -> str:
        """Return the model as JSON, for `from_json`."""
        grams = {" ".join(map(str, gram)): count for gram, count in self.counts}
        return json.dumps({"order": self.order, "vocab": self.vocab, "counts": grams}) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "NGram":
        """Read what `to_json` wrote.

        Raises:
            BadInput: it is something else.
        """
        try:
            found = json.loads(text)
            counts = ((tuple(map(int, gram.split())), int(count)) for gram, count in found["counts"].items())
            return cls(int(found["order"]), int(found["vocab"]), tuple(counts))
        except (ValueError, TypeError, KeyError, AttributeError):
            raise BadInput("the n-gram model is damaged: take the file from the run again") from None
