"""Answers to raw questions are those that the evaluation scores, in batches of any size; what is none is named."""

import json

import jax
import numpy as np
import pytest

from data.test_questions import ASKED, CONTEXTS, squad, write
from jaxlm.decode.spans import AnswerSearch
from jaxlm.errors import BadInput
from jaxlm.losses import TEXT
from jaxlm.metrics import compute, merge
from jaxlm.metrics.answers import answer_f1, answer_match, best_of
from jaxlm.models.bert import BERT
from jaxlm.models.heads import SpanClassifier
from jaxlm.predict import Predictor, answer_all, forward
from jaxlm.predict.answers import ExtractAnswers, TokenizeQuestions, window_answers
from jaxlm.predict.predictor import in_evaluation

MODEL = SpanClassifier(BERT(vocab=200, depth=1, width=16, heads=2, context=24))
LONG = " ".join(CONTEXTS)
QUESTIONS = [*ASKED, (3, 3, "What opened in 1912?", ["cafe\u0301"]), (3, 3, "Why not?", [])]
INPUTS = [{"question": question, "context": [*CONTEXTS, LONG][context]} for _, context, question, _ in QUESTIONS]


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """The data, variables whose answers differ, and the function that computes logits."""
    data = write(tmp_path_factory.mktemp("questions"), squad(QUESTIONS, [*CONTEXTS, LONG]))
    variables = jax.tree.map(lambda x: 4 * x, jax.jit(MODEL.init)(jax.random.key(1), data.example()))
    return data, variables, in_evaluation(forward(MODEL, TEXT))


def predictor_of(case, search, top=None):
    data, _, compute_logits = case
    names = ("tokens", "segments", "types")
    examples = tuple({name: np.zeros((3, width), np.int32) for name in names} for width in data.widths)
    tokenize = TokenizeQuestions(data.build_tokenizer(), data.widths, data.stride)
    return Predictor(tokenize, compute_logits, ExtractAnswers(search, top), examples)


@pytest.mark.parametrize("search", [AnswerSearch(5), AnswerSearch(5, 0.0)])
def test_answers_are_those_that_the_evaluation_scores(case, search):
    data, variables, compute_logits = case
    batches, apply, parts = data.eval(), jax.jit(compute_logits), []
    for batch in (batches[index] for index in range(len(batches))):
        logits = np.asarray(apply(variables, batch)["logits"])
        parts.append({"answers": window_answers(search, data.loaded().eval, logits, batch)})
    scores = merge(*parts)
    expected = [scores["answers"].answers()[number][0] for number in range(len(INPUTS))]
    assert len(set(expected)) > 3
    pairs = [(text, answers) for text, (*_, answers) in zip(expected, QUESTIONS, strict=True)]
    means = [100 * np.mean([best_of(score, *pair) for pair in pairs]) for score in (answer_match, answer_f1)]
    assert compute(scores) == pytest.approx(dict(zip(("exact_match", "f1"), means, strict=True)))
    found = list(answer_all(predictor_of(case, search), variables, INPUTS))
    for size in (1, 2, 7):
        again = list(answer_all(predictor_of(case, search), variables, INPUTS, batch=size))
        assert [answer["answer"] for answer in again] == expected
        for one, other in zip(again, found, strict=True):
            assert one["probability"] == pytest.approx(other["probability"], rel=1e-5)
    assert [answer["answer"] for answer in found] == expected
    for answer, given in zip(found, INPUTS, strict=True):
        if answer["answer"]:
            assert given["context"][answer["start"] : answer["end"]] == answer["answer"]
        else:
            assert (answer["start"], answer["end"]) == (None, None)


def test_an_answer_depends_on_its_own_question_alone(case):
    predictor = predictor_of(case, AnswerSearch(5))
    together = list(answer_all(predictor, case[1], INPUTS, batch=4))
    for given, expected in zip(INPUTS, together, strict=True):
        (alone,) = answer_all(predictor, case[1], [given], batch=4)
        assert alone == expected
    assert list(answer_all(predictor, case[1], INPUTS[::-1], batch=4)) == together[::-1]


def test_forms_of_a_question_are_the_same_and_the_best_answers_come_in_order(case):
    forms = [INPUTS[0], json.dumps(INPUTS[0]), [INPUTS[0]["question"], INPUTS[0]["context"]]]
    found = list(answer_all(predictor_of(case, AnswerSearch(5), 4), case[1], forms, batch=4))
    assert found[0] == found[1] == found[2]
    ranked = found[0]["answers"]
    assert len(ranked) == 4
    assert ranked[0] == {name: found[0][name] for name in ("answer", "start", "end", "probability")}
    assert [one["probability"] for one in ranked] == sorted((one["probability"] for one in ranked), reverse=True)
    json.dumps(found)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"question": " ", "context": "x"}, "an empty question: give some words"),
        ({"question": "x", "context": "\n"}, "an empty context: give some words"),
        ({"question": "\u0301", "context": "x"}, "an empty question"),
        ({"question": "x"}, "not a question with its context: give {"),
        ({"question": "x", "context": 3}, "not a question with its context"),
        (["x"], "not a question with its context"),
        (7, "not a question with its context"),
        ("What is it?", "the input is not JSON"),
        ({"question": "why " * 30, "context": "x"}, "the question has 30 tokens, which leaves 0 of 24"),
    ],
)
def test_what_is_no_question_is_one_line(case, given, words):
    (found,) = predictor_of(case, AnswerSearch()).preprocess([given])
    assert isinstance(found, BadInput)
    assert words in str(found)
    assert "\n" not in str(found)


def test_fewer_answers_than_one_are_refused():
    with pytest.raises(BadInput, match="top is 0"):
        ExtractAnswers(AnswerSearch(), 0)
