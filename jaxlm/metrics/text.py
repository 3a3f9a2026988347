"""Scores of written texts against references, on the host: the home of sacrebleu."""

import re
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

Score = Literal["bleu", "tokenized_bleu", "chrf", "ter"]
SAME = str.maketrans({**dict.fromkeys("„“”«»", '"'), **dict.fromkeys("‚‘’`´", "'"), "–": "-", "…": "..."})
MARK = re.compile(r"[^\w\s.,-]|_|\.{2,}|,(?!(?<=\d,)\d)")  # what is a token of its own; not the comma in 1,000
STOP = re.compile(r"(?<!\S)([^\s.]+)\.(?=$| [\W\d])")  # a word with a full stop, and no word in small letters after it


class CorpusScore(NamedTuple):
    """A score of all answers at once: BLEU, chrF or TER by sacreBLEU (Post 2018, arXiv:1804.08771).

    There are two BLEUs. "bleu" is the one to report: sacreBLEU's own tokens ("13a") of plain text. "tokenized_bleu" is
    for comparing with figures on tokenised lower-case text, as most of Multi30k are: `moses_tokens` of both sides.

    Attributes:
        answers: what was written.
        references: what should have been written, one for each answer.
        score: "bleu" or "tokenized_bleu" (Papineni et al. 2002), "chrf" (Popović 2015) or "ter" (Snover et al. 2006),
            with sacreBLEU's defaults, as `signature` states.
        lower: whether letters of both cases are the same; for "tokenized_bleu" and "ter" they always are.
    """

    answers: tuple[str, ...]
    references: tuple[str, ...]
    score: Score = "bleu"
    lower: bool = False

    def merge(self, other: "CorpusScore") -> "CorpusScore":
        """Return the score of the answers of both."""
        return self._replace(answers=self.answers + other.answers, references=self.references + other.references)

    def compute(self) -> float:
        """Return the score, from 0 to 100 (TER: from 0, and less is better)."""
        texts = self.answers, self.references
        if self.score == "tokenized_bleu":
            texts = tuple(map(moses_tokens, texts[0])), tuple(map(moses_tokens, texts[1]))
        return float(self._scorer().corpus_score(list(texts[0]), [list(texts[1])]).score)

    def signature(self) -> str:
        """Return sacreBLEU's signature, which names all that the score depends on, and what was done before."""
        scorer = self._scorer()
        scorer.corpus_score(["a"], [["a"]])  # it knows the number of references then
        before = "; moses_tokens of both sides" if self.score == "tokenized_bleu" else ""
        return f"{scorer.get_signature()}{before}"

    def _scorer(self) -> Any:
        from sacrebleu.metrics import BLEU, CHRF, TER

        if self.score == "chrf":
            return CHRF(lowercase=self.lower)
        if self.score == "ter":
            return TER()
        if self.score == "bleu":
            return BLEU(lowercase=self.lower)
        return BLEU(lowercase=True, tokenize="none", force=True)


def moses_tokens(text: str) -> str:
    """Return a text in lower case with spaces between its tokens, as the "tok" files of Multi30k are made.

    That is Moses' lowercase.perl, normalize-punctuation.perl and tokenizer.perl for German, without its escapes and its
    list of abbreviations: typographic quotes are plain ones, and marks are tokens of their own, but for hyphens and for
    full stops inside a sentence.
    """
    return STOP.sub(r"\1 .", " ".join(MARK.sub(r" \g<0> ", text.lower().translate(SAME)).split()))


def translation_scores(
    answers: Sequence[str], references: Sequence[str], lower: bool = False
) -> dict[str, CorpusScore]:
    """Return both BLEUs, chrF and TER of translations, by name."""
    scores: tuple[Score, ...] = ("bleu", "tokenized_bleu", "chrf", "ter")
    return {score: CorpusScore(tuple(answers), tuple(references), score, lower) for score in scores}
