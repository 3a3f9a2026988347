"""Inputs to answers: in order, one an input, in batches of few shapes, and each a function of its own input alone."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from jaxlm.errors import BadInput
from jaxlm.predict import Predictor, Prepared, answer_all
from jaxlm.predict.classes import ClassProbabilities
from jaxlm.predict.predictor import zeros


@dataclass(frozen=True)
class Split:
    """A word becomes rows of at most `size` letters, in widths 2 and `size`; "!" cannot be read."""

    size: int = 4

    options: ClassVar = ("size",)

    def __call__(self, inputs):
        for word in inputs:
            if word == "!":
                yield BadInput("no word")
            else:
                parts = [word[start : start + self.size] for start in range(0, len(word), self.size)]
                yield Prepared([self.row(part) for part in parts], word)

    def row(self, part):
        width = 2 if len(part) <= 2 else self.size
        return {"letters": np.array([ord(x) for x in part.ljust(width, "\0")], np.int32)}


@dataclass(frozen=True)
class Sum:
    """The sum of the letters of all rows, and the word."""

    scale: int = 1

    options: ClassVar = ("scale",)

    def __call__(self, outputs, context):
        return {"word": context, "sum": self.scale * sum(int(row["sum"]) for row in outputs)}


seen = []


def add(variables, batch):
    seen.append(batch["letters"].shape)  # while it is traced: once a program
    return {"sum": batch["letters"].sum(1) + variables["bias"]}


ADD = Predictor(Split(), add, Sum(), (zeros(Split().row("ab"), 3), zeros(Split().row("abc"), 3)))
words = some.lists(some.text("abc", max_size=9) | some.just("!"), max_size=12)


@given(words, some.none() | some.integers(1, 5))
def test_answers_come_in_order_one_an_input_whatever_the_batch(inputs, batch):
    answers = list(answer_all(ADD, {"bias": np.int32(0)}, inputs, batch=batch))
    assert len(answers) == len(inputs)
    for word, answer in zip(inputs, answers, strict=True):
        if word == "!":
            assert isinstance(answer, BadInput)
        else:
            assert answer == {"word": word, "sum": sum(map(ord, word))}


@given(words, some.integers(1, 5))
def test_inputs_that_a_model_or_its_answer_refuses_are_refused_alone(inputs, batch):
    def narrow(variables, batch):
        if batch["letters"].shape[1] > 2:
            raise BadInput("no program for four letters")
        return add(variables, batch)

    def sums(outputs, context):
        if "c" in context:
            raise BadInput("no c")
        return Sum()(outputs, context)

    narrowed = Predictor(Split(), narrow, sums, ADD.examples)
    for word, answer in zip(inputs, answer_all(narrowed, {"bias": np.int32(0)}, inputs, batch=batch), strict=True):
        rows = [word[start : start + 4] for start in range(0, len(word), 4)]
        if word == "!" or "c" in word or any(len(row) > 2 for row in rows):
            assert isinstance(answer, BadInput)
        else:
            assert answer == {"word": word, "sum": sum(map(ord, word))}


def test_one_program_is_compiled_for_each_shape():
    seen.clear()

    def fresh(variables, batch):
        return add(variables, batch)

    predictor = Predictor(ADD.preprocess, fresh, ADD.postprocess, ADD.examples)
    for _ in range(2):
        list(answer_all(predictor, {"bias": np.int32(1)}, ["ab", "abcd", "a", "b", "abcdefg"] * 3))
    assert sorted(seen) == [(3, 2), (3, 4)]


def test_few_inputs_are_computed_in_the_smallest_power_of_two_and_many_in_whole_batches():
    for count, size in ((1, 1), (2, 2), (3, 3), (4, 3), (7, 3)):
        seen.clear()
        predictor = Predictor(ADD.preprocess, lambda v, b: add(v, b), ADD.postprocess, ADD.examples)
        list(answer_all(predictor, {"bias": np.int32(0)}, ["ab"] * count))
        assert seen == [(size, 2)]


def test_options_change_the_half_that_has_them_and_others_are_refused():
    changed = ADD.with_options(size=2, scale=3)
    assert (changed.preprocess, changed.postprocess, changed.apply) == (Split(2), Sum(3), ADD.apply)
    (answer,) = answer_all(changed, {"bias": np.int32(0)}, ["abc"])
    assert answer["sum"] == 3 * sum(map(ord, "abc"))
    with pytest.raises(BadInput, match="has no option speed: it has size, scale"):
        ADD.with_options(speed=1)
    with pytest.raises(BadInput, match="top is 0"):
        ClassProbabilities(("a",), top=0)


@given(some.lists(some.lists(some.floats(-50, 50, width=32), min_size=4, max_size=4), min_size=1, max_size=3))
def test_probabilities_are_a_softmax_and_the_mean_of_the_rows(logits):
    names = ("a", "b", "c", "d")
    rows = [{"logits": np.array(row, np.float32)} for row in logits]
    answer = ClassProbabilities(names)(rows)
    shares = [np.exp(row["logits"].astype(float)) / np.exp(row["logits"].astype(float)).sum() for row in rows]
    np.testing.assert_allclose(list(answer["probabilities"].values()), np.mean(shares, 0), atol=1e-12)
    assert answer["probability"] == pytest.approx(max(answer["probabilities"].values()))
    best = ClassProbabilities(names, top=2)(rows)["probabilities"]
    assert list(best.values()) == sorted(answer["probabilities"].values(), reverse=True)[:2]
    if len(rows) == 1:
        assert answer["label"] == names[int(rows[0]["logits"].argmax())]
