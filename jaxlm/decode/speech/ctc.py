"""From the outputs of a CTC model to tokens, on the host: best path, prefix beam search, and the times of tokens.

T outputs, V tokens; log-probabilities float32 [T, V + 1] have the blank in the column `blank`.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

import numpy as np

from jaxlm.decode.speech.ngram import NGram
from jaxlm.errors import BadInput

Prefix = tuple[int, ...]
TokenScorer = Callable[[Prefix, int | None], float]  # (tokens so far, next one or None for the end) -> log-probability
Beam = dict[Prefix, tuple[float, float]]  # log-probabilities of the paths that end in the blank, and that do not
NEVER = -np.inf


class Hypothesis(NamedTuple):
    """Tokens and their score, see `prefix_beam_search`."""

    tokens: Prefix
    score: float


@dataclass(frozen=True)
class CTCSearch:
    """Spec of a search for what was said.

    Attributes:
        beams: prefixes that go on; 1 is the best path, which takes the most probable output at each moment.
        tokens: the most probable tokens of a moment, which may extend a prefix.
        order: of an n-gram model of the training texts, counted in tokens; 0 is none.
        weight: of its log-probability.
        bonus: added to the score for each token, since an n-gram model favours short texts.
    """

    beams: int = 1
    tokens: int = 40
    order: int = 0
    weight: float = 0.5
    bonus: float = 0.0

    def __post_init__(self) -> None:
        """Check the fields; raises BadInput."""
        if self.beams < 1 or self.tokens < 1 or self.order < 0:
            raise BadInput(f"decode is {self}: beams and tokens are at least 1, order at least 0")
        if self.order and self.beams == 1:
            raise BadInput("decode.order has no effect on the best path: set --decode.beams, or --decode.order 0")

    def language_model(self, targets: Sequence[np.ndarray], vocab: int) -> NGram | None:
        """Return the n-gram model of tokenised texts, or None where `order` is 0."""
        return NGram.count([row.tolist() for row in targets], self.order, vocab) if self.order else None

    def __call__(self, log_probs_TV: np.ndarray, blank: int, language: NGram | None = None) -> Prefix:
        """Return the tokens of an utterance."""
        if self.beams == 1:
            return best_path(log_probs_TV, blank)
        scorer = None if language is None else language.log_prob
        options = {"tokens": self.tokens, "weight": self.weight, "bonus": self.bonus}
        return prefix_beam_search(log_probs_TV, blank, self.beams, scorer, **options)[0].tokens  # type: ignore[arg-type]


def best_path(log_probs_TV: np.ndarray, blank: int) -> Prefix:
    """Return the tokens of the most probable path: repeats are merged, then blanks are dropped."""
    return tuple(token for token, _ in groupby(log_probs_TV.argmax(1).tolist()) if token != blank)


def prefix_beam_search(
    log_probs_TV: np.ndarray,
    blank: int,
    beams: int,
    scorer: TokenScorer | None = None,
    *,
    tokens: int | None = None,
    weight: float = 1.0,
    bonus: float = 0.0,
) -> list[Hypothesis]:
    """Search for the most probable tokens, summed over all their paths (Graves et al. 2006; Hannun et al. 2014).

    The score of tokens y is log P(y | sound) + weight * log P_language(y) + bonus * len(y), where the language model
    counts the end of the text once it is reached.

    Law: with as many beams as there are prefixes, and all tokens, it finds the best of all texts and its exact score.

    Args:
        log_probs_TV: normalised, of the outputs that are not padding.
        blank: its column.
        beams: prefixes that go on.
        scorer: a language model; None: none.
        tokens: the most probable tokens of each output that may extend a prefix; None: all.
        weight: see above.
        bonus: see above.

    Returns:
        At most `beams` hypotheses, the best first.
    """
    ranked = np.argsort(-log_probs_TV, axis=1, kind="stable")[:, : None if tokens is None else tokens + 1]
    language: dict[Prefix, float] = {(): 0.0}
    beam: Beam = {(): (0.0, NEVER)}

    def extra(prefix: Prefix) -> float:
        if prefix not in language:
            before = prefix[:-1]
            said = 0.0 if scorer is None else weight * scorer(before, prefix[-1])
            language[prefix] = extra(before) + said + bonus
        return language[prefix]

    def score(item: tuple[Prefix, tuple[float, float]]) -> float:
        return float(np.logaddexp(*item[1])) + extra(item[0])

    for log_p_V, candidates in zip(log_probs_TV.astype(np.float64).tolist(), ranked.tolist(), strict=True):
        grown = _grow(beam, log_p_V, candidates, blank)
        beam = dict(sorted(grown.items(), key=score, reverse=True)[:beams])
    ends = {prefix: 0.0 if scorer is None else weight * scorer(prefix, None) for prefix in beam}
    found = [Hypothesis(prefix, score((prefix, sums)) + ends[prefix]) for prefix, sums in beam.items()]
    return sorted(found, key=lambda one: one.score, reverse=True)


def _grow(beam: Beam, log_p_V: list[float], candidates: list[int], blank: int) -> Beam:
    """Return all prefixes that one more output makes of those of a beam."""
    blanks: dict[Prefix, float] = defaultdict(lambda: NEVER)
    others: dict[Prefix, float] = defaultdict(lambda: NEVER)
    for prefix, (in_blank, in_token) in beam.items():
        whole = np.logaddexp(in_blank, in_token)
        blanks[prefix] = np.logaddexp(blanks[prefix], whole + log_p_V[blank])
        if prefix:
            others[prefix] = np.logaddexp(others[prefix], in_token + log_p_V[prefix[-1]])
        for token in candidates:
            begun = in_blank if prefix[-1:] == (token,) else whole
            if token != blank and begun > NEVER:
                longer = (*prefix, token)
                others[longer] = np.logaddexp(others[longer], begun + log_p_V[token])
    return {prefix: (blanks[prefix], others[prefix]) for prefix in {**blanks, **others}}


def align(log_probs_TV: np.ndarray, tokens: Prefix, blank: int) -> list[tuple[int, int]]:
    """Return the first output and one past the last of each token, on the most probable path that spells the tokens.

    The Viterbi algorithm over blank, token, blank, ..., blank (Graves et al. 2006, section 4.1, with maxima for sums).

    Raises:
        BadInput: the tokens need more outputs than there are.
    """
    states = np.full(2 * len(tokens) + 1, blank)
    states[1::2] = tokens
    skips = np.zeros(len(states), bool)
    skips[3::2] = states[3::2] != states[1:-2:2]  # from a token to the next, where they differ
    score = np.full(len(states), NEVER)
    score[:2] = log_probs_TV[0, states[:2]] if len(log_probs_TV) else 0.0
    back = np.zeros((len(log_probs_TV), len(states)), np.int64)
    for time in range(1, len(log_probs_TV)):
        one = np.concatenate([[NEVER], score[:-1]])
        two = np.where(skips, np.concatenate([[NEVER, NEVER], score[:-2]])[: len(states)], NEVER)
        options = np.stack([score, one, two])
        back[time] = options.argmax(0)
        score = options.max(0) + log_probs_TV[time, states]
    state = len(states) - 1 if len(states) == 1 or score[-1] >= score[-2] else len(states) - 2
    if tokens and (not len(log_probs_TV) or score[state] == NEVER):
        raise BadInput(f"{len(tokens)} tokens cannot be said in {len(log_probs_TV)} outputs: give a longer recording")
    path = np.zeros(len(log_probs_TV), np.int64)
    for time in range(len(path) - 1, -1, -1):
        path[time] = state
        state -= back[time, state]
    places = [np.flatnonzero(path == 2 * number + 1) for number in range(len(tokens))]
    return [(int(place[0]), int(place[-1]) + 1) for place in places]
