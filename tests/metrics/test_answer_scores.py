"""Exact match and F1 of answers: SQuAD's rules on cases worked by hand, and any split of the windows into batches."""

import numpy as np
import pytest

from jaxlm.metrics import compute, merge
from jaxlm.metrics.answers import AnswerScores, WindowAnswer, answer_f1, answer_match, best_of, normalise_answer
from jaxlm.metrics.bootstrap import bootstrap_interval


def test_normalising_drops_case_punctuation_articles_and_spaces():
    assert normalise_answer("  The  U.S.A.,\u00a0an 'Ally' ") == "usa ally"
    assert normalise_answer("Theatre and another") == "theatre and another"
    assert normalise_answer("a-b—c") == "ab—c"  # the punctuation of ASCII alone
    assert normalise_answer("the, a an!") == ""


@pytest.mark.parametrize(
    ("answer", "reference", "match", "f1"),
    [
        ("308 points", "308", 0, 2 / 3),
        ("The 308", "308.", 1, 1),
        ("to be to be", "to be", 0, 2 * 0.5 * 1 / 1.5),
        ("cat", "dog", 0, 0),
        ("", "dog", 0, 0),
        ("", "", 1, 1),
        ("the", "a", 1, 1),  # both are empty: SQuAD 2.0 counts it
        ("the", "dog", 0, 0),
    ],
)
def test_scores_of_pairs(answer, reference, match, f1):
    assert answer_match(answer, reference) == match
    assert answer_f1(answer, reference) == pytest.approx(f1)
    assert answer_f1(reference, answer) == pytest.approx(f1)


def test_the_best_reference_counts_and_no_reference_is_the_empty_answer():
    assert best_of(answer_f1, "red dog", ("cat", "dog", "red")) == pytest.approx(2 / 3)
    assert best_of(answer_match, "", ()) == 1
    assert best_of(answer_match, "x", ()) == 0
    assert best_of(answer_match, "", ("the", "dog")) == 0  # "the" does not count beside "dog"


def window(question, score, start, text, empty=-9.0, references=("dog",)):
    return WindowAnswer(question, score, start, text, empty, references)


WINDOWS = [
    window(0, 1.0, 5, "cat"),
    window(0, 2.0, 9, "dog"),
    window(1, 3.0, 8, "late", references=("early",)),
    window(1, 3.0, 2, "early", references=("early",)),
    window(2, 1.0, 0, "red dog"),
    window(3, 0.5, 1, "x", empty=1.0, references=()),
    window(3, 0.4, 7, "y", empty=0.8, references=()),
]


def test_windows_of_a_question_may_come_in_any_batch():
    draw = np.random.default_rng(0)
    for _ in range(20):
        order, cuts = draw.permutation(len(WINDOWS)), sorted(draw.integers(0, len(WINDOWS), 2))
        parts = [[WINDOWS[k] for k in part] for part in np.split(order, cuts)]
        whole = merge(*({"answers": AnswerScores(tuple(part), 0.0)} for part in parts))
        found = {number: text for number, (text, _) in whole["answers"].answers().items()}
        assert found == {0: "dog", 1: "early", 2: "red dog", 3: ""}  # of equal scores the first place
        assert compute(whole, "answers/") == pytest.approx(
            {"answers/exact_match": 75.0, "answers/f1": 25 * (3 + 2 / 3)}
        )


def test_the_empty_answer_needs_a_threshold_that_the_least_of_its_scores_passes():
    for threshold, answer in ((None, "x"), (0.2, ""), (0.4, "x")):  # its least score is 0.8, and 0.5 that of x
        assert AnswerScores(tuple(WINDOWS), threshold).answers()[3][0] == answer


def test_the_interval_of_a_mean_is_that_of_the_normal_law_and_wider_by_groups():
    values = np.random.default_rng(0).normal(size=400)
    low, high = bootstrap_interval(values)
    error = values.std() / 20
    np.testing.assert_allclose([low, high], values.mean() + np.array([-1.96, 1.96]) * error, atol=0.15 * error)
    assert (low, high) == bootstrap_interval(values)
    groups = np.repeat(np.arange(20), 20)
    wide = bootstrap_interval(np.repeat(values[:20], 20), groups)
    narrow = bootstrap_interval(np.repeat(values[:20], 20))
    assert wide[1] - wide[0] > 3 * (narrow[1] - narrow[0])
    assert bootstrap_interval(values, np.arange(400)) == pytest.approx((low, high), abs=0.2 * error)
