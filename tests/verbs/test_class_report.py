"""Reports of classes and entities are those of scikit-learn and seqeval, letter for letter."""

import numpy as np
import pytest
import sklearn.metrics as sk
from hypothesis import example, given
from hypothesis import strategies as st

from jaxlm.errors import BadInput
from jaxlm.metrics import Entities, Tags
from jaxlm.verbs.class_report import classification_report, entity_report

NAMES = ["cat", "a dog", "an extraordinarily long name", "d", "é"]
LONE = [(1, 1), (1, 3)]  # classes 0, 2 and 4 do not occur, and 3 only as a prediction
ALL_WRONG = [(0, 1), (1, 3), (1, 0)]
TAGS = Tags(("O", "B-ORG", "I-ORG", "B-LOC", "I-LOC", "B-a longer type", "I-a longer type"))


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=30), st.integers(0, 14))
@example(LONE, 2)
@example(ALL_WRONG, 2)
def test_the_report_of_a_confusion_is_that_of_its_examples(pairs, digits):
    true, predicted = np.array(pairs).T
    counts = np.zeros((5, 5), np.int32)
    np.add.at(counts, (true, predicted), 1)
    names = [NAMES[i] for i in sorted({*true, *predicted})]
    expected = sk.classification_report(true, predicted, target_names=names, digits=digits, zero_division=0)
    assert classification_report(counts, NAMES, digits) == expected


def test_a_report_of_nothing_is_refused():
    with pytest.raises(BadInput, match="no example was counted"):
        classification_report(np.zeros((5, 5), np.int32), NAMES)


def test_where_there_is_no_entity_the_report_has_no_rows():
    assert "LOC" not in entity_report(Entities(*np.zeros((3, 3), np.int32)), TAGS.types)


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=30), st.integers(2, 4))
@example([(1, 1), (2, 2), (3, 0)], 2)
def test_the_report_of_entities_is_seqevals(pairs, digits):
    seqeval = pytest.importorskip("seqeval.metrics")
    true, predicted = np.array(pairs, np.int32).T
    if not (true.any() or predicted.any()):
        return  # seqeval fails where there is no entity
    padded = (np.pad(x, (0, 30 - len(pairs)))[None] for x in (predicted, true, np.ones(len(pairs), np.float32)))
    counts = Entities(*map(np.asarray, Entities.from_tags(*padded, TAGS)))
    texts = ([[TAGS.names[i] for i in row]] for row in (true, predicted))
    expected = seqeval.classification_report(*texts, digits=digits, zero_division=0)
    assert entity_report(counts, TAGS.types, digits) == expected
