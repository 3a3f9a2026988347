"""Answer questions by rules that learn nothing, and compare a model with them on the same questions.

    python scripts/question_baselines.py FILE [--runs FOLDER]

FILE is in SQuAD's format. FOLDER is that of `jaxlm crossval`, made of the same file: each question is answered by the
run that has not seen its article. Printed are exact match and F1 in per cent, with 95 % bootstrap intervals of F1 by
questions and by whole articles, and what the model's F1 is above that of the best rule, in pairs.
"""

import argparse
import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from tabulate import tabulate

from jaxlm.data.questions.files import article_fold
from jaxlm.data.questions.squad import Question, read_squad
from jaxlm.metrics.answers import answer_f1, answer_match, best_of
from jaxlm.metrics.bootstrap import bootstrap_interval

SENTENCE = re.compile(r"[^.!?]*(?:[.!?](?!\s)[^.!?]*)*[.!?]*")
WORD = re.compile(r"\w+(?:[-'’.,]\w+)*")
NAME = re.compile(r"[A-Z][\w'’-]*(?:\s+(?:of\s+|the\s+|de\s+)?[A-Z][\w'’-]*)*")
NUMBER = re.compile(r"[$£€]?\d+(?:[.,]\d+)*(?:\s*%|\s+(?:million|billion|thousand|percent|years?))?")
COUNTS = re.compile(r"\b(how (many|much|long|old|far|often|large|big|tall)|when|wh\w+ (year|percent\w*|date|day))\b")


def words_of(text: str) -> list[str]:
    """Return the words of a text in lower case."""
    return [word.lower() for word in WORD.findall(text)]


@cache
def sentences(context: str) -> list[tuple[int, int]]:
    """Return where the sentences of a context begin and end."""
    return [match.span() for match in SENTENCE.finditer(context) if match.group().strip()]


@cache
def rarities(context: str) -> dict[str, float]:
    """Return the weight of each word of a context: the logarithm of the share of its sentences that have it."""
    parts = [set(words_of(context[start:end])) for start, end in sentences(context)]
    counts = Counter(word for part in parts for word in part)
    return {word: math.log(1 + len(parts) / count) for word, count in counts.items()}


def best_sentence(one: Question) -> tuple[int, int]:
    """Return the sentence whose words are most of the question's, rare ones counting more; the first of equals."""
    asked, weights = set(words_of(one.question)), rarities(one.context)

    def score(span: tuple[int, int]) -> float:
        return sum(weights[word] for word in asked & set(words_of(one.context[slice(*span)])))

    return max(sentences(one.context), key=score)


def whole_sentence(one: Question) -> str:
    """Answer with the sentence that matches the question best."""
    return one.context[slice(*best_sentence(one))].strip()


def first_name(one: Question) -> str:
    """Answer with the first capitalised words of the context."""
    found = NAME.search(one.context)
    return found.group() if found else one.context


def after_match(one: Question) -> str:
    """Answer with what follows the longest run of words that the context shares with the question: three words."""
    asked, spans = words_of(one.question), [match.span() for match in WORD.finditer(one.context)]
    there = [one.context[start:end].lower() for start, end in spans]
    best, stop = 0, 0
    for place in range(len(there)):
        for begin in range(len(asked)):
            size = 0
            while there[place + size : place + size + 1] == asked[begin + size : begin + size + 1] != []:
                size += 1
            if size > best:
                best, stop = size, place + size
    following = spans[stop : stop + 3] or spans[-3:]
    return one.context[following[0][0] : following[-1][1]]


def nearest(one: Question, patterns: Sequence[re.Pattern[str]]) -> str:
    """Return what fits a pattern in the best sentence, is not in the question, and is nearest to its words."""
    start, end = best_sentence(one)
    asked = set(words_of(one.question))
    places = [match.start() for match in WORD.finditer(one.context, start, end) if match.group().lower() in asked]
    centre = float(np.mean(places)) if places else (start + end) / 2
    for pattern in patterns:
        found = [m for m in pattern.finditer(one.context, start, end) if not set(words_of(m.group())) <= asked]
        if found:
            return min(found, key=lambda match: abs((match.start() + match.end()) / 2 - centre)).group()
    return one.context[start:end].strip()


def nearest_entity(one: Question) -> str:
    """Answer with the name or number of the best sentence that is nearest to the question's words."""
    return nearest(one, [re.compile(f"{NUMBER.pattern}|{NAME.pattern}")])


def nearest_of_kind(one: Question) -> str:
    """Answer so with a number where one is asked for, and else with a name."""
    return nearest(one, [NUMBER, NAME] if COUNTS.search(one.question.lower()) else [NAME, NUMBER])


RULES: dict[str, Callable[[Question], str]] = {
    "first capitalised words": first_name,
    "three words after the longest match": after_match,
    "sentence that matches best": whole_sentence,
    "nearest name or number in it": nearest_entity,
    "the same, by what is asked for": nearest_of_kind,
}


def answers_of_runs(questions: Sequence[Question], runs: Path) -> list[str]:
    """Return the answers of a cross-validation's runs, each to the questions of the fold that it has not seen."""
    from jaxlm.predict.load import load_run

    folds = sorted(runs.glob("fold-*"), key=lambda path: int(path.name.partition("-")[2]))
    found: dict[int, str] = {}
    for fold, path in enumerate(folds):
        _, rows = article_fold([one.article for one in questions], len(folds), fold)
        inputs = [{"question": questions[row].question, "context": questions[row].context} for row in rows]
        found |= dict(zip(map(int, rows), (answer["answer"] for answer in load_run(path)(inputs)), strict=True))
    return [found[row] for row in range(len(questions))]


def interval(values: np.ndarray, groups: Sequence[int] | None = None) -> str:
    """Return a bootstrap interval for a table."""
    low, high = bootstrap_interval(values, groups)
    return f"{low:.1f} to {high:.1f}"


def table(questions: Sequence[Question], answers: dict[str, list[str]]) -> tuple[str, dict[str, np.ndarray]]:
    """Return the table of several ways to answer, and the F1 of each question, by name."""
    articles, rows, found = [one.article for one in questions], [], {}
    for name, given in answers.items():
        pairs = list(zip(given, (one.answers for one in questions), strict=True))
        match, f1 = (100 * np.array([best_of(score, *pair) for pair in pairs]) for score in (answer_match, answer_f1))
        found[name] = f1
        rows.append([name, f"{match.mean():.1f}", f"{f1.mean():.1f}", interval(f1), interval(f1, articles)])
    heads = ["answer", "exact match", "F1", "by questions", "by articles"]
    return tabulate(rows, heads, "github", disable_numparse=True, colalign=("left", *["right"] * 4)), found


def main() -> None:
    """Read the command line and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--runs", type=Path, default=None)
    words = parser.parse_args()
    questions = read_squad(words.file)
    answers = {name: [rule(one) for one in questions] for name, rule in RULES.items()}
    if words.runs is not None:
        answers["model"] = answers_of_runs(questions, words.runs)
    shown, values = table(questions, answers)
    print(shown)
    if words.runs is not None:
        best = max(RULES, key=lambda name: values[name].mean())
        gain = values["model"] - values[best]
        both = f"{interval(gain)} by questions, {interval(gain, [one.article for one in questions])} by articles"
        print(f"model above {best!r}: {gain.mean():.1f}, {both}")


if __name__ == "__main__":
    main()
