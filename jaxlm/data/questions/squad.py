"""Read files in the format of SQuAD, version 1.1 (Rajpurkar et al. 2016, arXiv:1606.05250) or 2.0 (2018)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from jaxlm.data.readers.json_text import read_json_file
from jaxlm.data.readers.text import is_blank
from jaxlm.errors import BadInput


class Question(NamedTuple):
    """A question about a text.

    Attributes:
        question: what is asked.
        context: the text that holds the answer.
        answers: texts of the answers that people gave; none where the context has no answer (SQuAD 2.0).
        starts: for each of them the place in the context of its first character, counted in code points from 0.
        article: the number of its article in the file; its questions have their facts and wording in common.
        where: its place for a message: file, article, paragraph, question.
    """

    question: str
    context: str
    answers: tuple[str, ...]
    starts: tuple[int, ...]
    article: int
    where: str

    def is_at(self, answer: int) -> bool:
        """Return whether the context has an answer where the file says that it is."""
        text, start = self.answers[answer], self.starts[answer]
        return start >= 0 and self.context[start : start + len(text)] == text


def read_squad(path: Path) -> list[Question]:
    """Return the questions of a file, in its order.

    Whether an answer is at its place is not checked here, see `Question.is_at`.

    Raises:
        BadInput: the file cannot be read, is not JSON of this format, or has an empty question, context or answer, or a
            question without answers that is not marked as impossible; names the place.
    """
    content = read_json_file(path)
    found = list(_questions(str(path), _items(content, "data", str(path))))
    if not found:
        raise BadInput(f"{path} has no questions: give a file in SQuAD's format that has some")
    return found


def _questions(file: str, articles: list[Any]) -> Iterator[Question]:
    for number, article in enumerate(articles):
        of_article = f"{file} article {number}"
        for part, paragraph in enumerate(_items(article, "paragraphs", of_article)):
            of_paragraph = f"{of_article} paragraph {part}"
            context = _text(paragraph, "context", of_paragraph)
            for place, asked in enumerate(_items(paragraph, "qas", of_paragraph)):
                where = f"{of_paragraph} question {place}"
                question = _text(asked, "question", where)
                yield Question(question, context, *_answers(asked, where), number, where)


def _answers(asked: dict[str, Any], where: str) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Return the texts and the places of the answers of a question; none where it is marked as impossible."""
    if asked.get("is_impossible") is True:
        return (), ()
    answers = _items(asked, "answers", where)
    if not answers:
        raise BadInput(f'{where} has no answers: give one, or mark it with "is_impossible": true')
    texts = tuple(_text(answer, "text", f"{where} answer {number}") for number, answer in enumerate(answers))
    starts = tuple(answer.get("answer_start") for answer in answers)
    for number, start in enumerate(starts):
        if type(start) is not int:
            raise BadInput(f"{where} answer {number} has answer_start {start!r}: give that of its first character")
    return texts, starts


def _items(holder: Any, name: str, where: str) -> list[Any]:
    """Return the list under a name of an object."""
    found = holder.get(name) if isinstance(holder, dict) else None
    if not isinstance(found, list):
        raise BadInput(f"{where} has no list {name!r}: give a file in SQuAD's format")
    return found


def _text(holder: Any, name: str, where: str) -> str:
    """Return the text under a name of an object."""
    found = holder.get(name) if isinstance(holder, dict) else None
    if not isinstance(found, str):
        raise BadInput(f"{where} has no text {name!r}: give a file in SQuAD's format")
    if is_blank(found):
        raise BadInput(f"{where}: the {name} is empty: write it, or take the question out")
    return found
