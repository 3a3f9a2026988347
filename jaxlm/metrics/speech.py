"""Errors of recognised speech against what was said, on the host: the home of jiwer."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from jaxlm.errors import BadInput
from jaxlm.metrics.mean import Mean

ErrorUnit = Literal["words", "characters"]


class ErrorRate(NamedTuple):
    """The word error rate, or that of characters: (substitutions + deletions + insertions) / words that were said.

    They are counts of an alignment with the fewest errors, so rates of parts are added before they are divided. As in
    jiwer 4, where nothing was said the rate is the number of words that were recognised.

    Attributes:
        right: words that were recognised.
        substituted: words instead of others.
        deleted: words that are missing.
        inserted: words that were not said.
    """

    right: Any
    substituted: Any
    deleted: Any
    inserted: Any

    @classmethod
    def from_texts(cls, answers: Sequence[str], references: Sequence[str], unit: ErrorUnit = "words") -> "ErrorRate":
        """Count the errors of answers, one for each reference."""
        found = _alignment(answers, references, unit)
        return cls(found.hits, found.substitutions, found.deletions, found.insertions)

    def compute(self) -> float:
        """Divide; 0 is without an error, and more than 1 is possible."""
        right, substituted, deleted, inserted = map(int, self)
        return (substituted + deleted + inserted) / max(right + substituted + deleted, 1)


def speech_scores(answers: Sequence[str], references: Sequence[str]) -> dict[str, Any]:
    """Return the error rates of words ("wer") and characters ("cer"), and of whole utterances ("utterance_error")."""
    wrong = sum(answer.split() != reference.split() for answer, reference in zip(answers, references, strict=True))
    return {
        "wer": ErrorRate.from_texts(answers, references),
        "cer": ErrorRate.from_texts(answers, references, "characters"),
        "utterance_error": Mean(float(wrong), float(len(references))),
    }


def sequence_errors(answers: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Return the error rates of sequences of symbols with spaces between them, such as the sounds of a word.

    "sequence_error" is the share of answers that equal none of their references, for words written in sounds the word
    error rate; "symbol_error" the errors against the nearest reference over the symbols of this, the phone error rate.
    The nearest is the reference with the lowest rate, and the first of those.

    Args:
        answers: what was written.
        references: for each answer all that would have been right, at least one, none of them empty.
    """
    nearest = [
        min((ErrorRate.from_texts([answer], [text]) for text in texts), key=ErrorRate.compute)
        for answer, texts in zip(answers, references, strict=True)
    ]
    wrong = sum(rate.compute() > 0 for rate in nearest)
    symbols = ErrorRate(*(sum(counts) for counts in zip(*nearest, strict=True)))
    return {"sequence_error": Mean(wrong, len(answers)), "symbol_error": symbols}


def show_alignment(answers: Sequence[str], references: Sequence[str], unit: ErrorUnit = "words") -> str:
    """Return the alignment of answers with references as text: S substituted, D deleted, I inserted."""
    from jiwer import visualize_alignment

    return str(visualize_alignment(_alignment(answers, references, unit)))


def _alignment(answers: Sequence[str], references: Sequence[str], unit: ErrorUnit) -> Any:
    try:
        import jiwer
    except ImportError as error:
        raise BadInput(f'jiwer is needed for error rates ({error}): pip install "jaxlm[speech]"') from None
    process = jiwer.process_words if unit == "words" else jiwer.process_characters
    return process(list(references), list(answers))
