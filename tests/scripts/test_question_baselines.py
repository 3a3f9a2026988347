"""The rules that learn nothing answer with stretches of the context, and their table counts as the metric does."""

import numpy as np
import pytest

from jaxlm.data.questions.squad import Question
from jaxlm.metrics.answers import answer_f1
from whole_path import ROOT

CONTEXT = "The Louvre opened in 1793. In Kyoto, Mary Ann Smith sold 3.5 million books about whales to the U.S. museum."
ASKED = (
    ("Who sold books about whales?", "Mary Ann Smith"),
    ("How many books about whales were sold?", "3.5 million"),
    ("When did the Louvre open?", "1793"),
)
QUESTIONS = [Question(q, CONTEXT, (a,), (CONTEXT.index(a),), n % 2, "x") for n, (q, a) in enumerate(ASKED)]


@pytest.fixture(scope="module")
def script():
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.syspath_prepend(str(ROOT / "scripts"))
        import question_baselines

        yield question_baselines


def test_every_rule_answers_with_a_stretch_of_the_context(script):
    for rule in script.RULES.values():
        answers = [rule(one) for one in QUESTIONS]
        assert all(answer and answer in CONTEXT for answer in answers)
        hard = Question("¿?", "no names", ("no",), (0,), 0, "x")
        assert rule(hard) in hard.context


def test_a_sentence_does_not_end_inside_of_a_number_or_a_word(script):
    found = [CONTEXT[start:end].strip() for start, end in script.sentences(CONTEXT)]
    assert found[0] == "The Louvre opened in 1793."
    assert "3.5 million" in found[1]


def test_what_is_asked_for_chooses_between_names_and_numbers(script):
    assert [script.nearest_of_kind(one) for one in QUESTIONS] == [answer for _, answer in ASKED]
    assert script.whole_sentence(QUESTIONS[2]) == "The Louvre opened in 1793."
    assert script.first_name(QUESTIONS[0]) == "The Louvre"
    assert script.after_match(QUESTIONS[0]) == "to the U.S"


def test_the_table_has_the_means_and_their_intervals(script):
    answers = {"one": ["Mary Ann Smith", "3.5 million", "in 1793"], "none": ["x", "y", "z"]}
    shown, values = script.table(QUESTIONS, answers)
    f1 = [100 * answer_f1(answer, one.answers[0]) for answer, one in zip(answers["one"], QUESTIONS, strict=True)]
    np.testing.assert_allclose(values["one"], f1)
    assert f"| one      |          66.7 | {np.mean(f1):.1f} |" in shown
    assert "|           0.0 |  0.0 |     0.0 to 0.0 |    0.0 to 0.0 |" in shown
