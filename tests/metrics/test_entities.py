"""Entities are counted as seqeval counts them: against plain Python here, and against seqeval itself."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jaxlm.errors import BadInput
from jaxlm.metrics import Entities, Tags, entities
from jaxlm.steps import Mean, compute, merge

TYPES = ("LOC", "ORG", "a longer type")
BIO = Tags(("O", *(f"{prefix}-{kind}" for kind in ("ORG", "LOC", "a longer type") for prefix in "BI")))
BIOES = Tags(("O", *(f"{prefix}-{kind}" for kind in ("ORG", "LOC") for prefix in "BIES")))
ROWS, LENGTH = 6, 12


def drawn(tags, seed):
    """Predictions that are often right, targets, and a mask that leaves out padding and later pieces."""
    draw = np.random.default_rng(seed)
    targets = draw.integers(0, len(tags.names), (ROWS, LENGTH)).astype(np.int32)
    other = draw.integers(0, len(tags.names), (ROWS, LENGTH)).astype(np.int32)
    predicted = np.where(draw.random((ROWS, LENGTH)) < draw.random(), targets, other)
    mask = (draw.random((ROWS, LENGTH)) < 0.8).astype(np.float32)
    return predicted, targets, mask


def words(ids, mask, tags):
    return [[tags.names[i] for i in row[kept > 0]] for row, kept in zip(ids, mask, strict=True)]


count = jax.jit(Entities.from_tags, static_argnames=("tags", "strict"))


def chunks(names, strict=False):
    """The entities (type, first place, last place) of one row, by a loop over its tags."""
    spans, begun, before = [], None, "O"
    for place, name in enumerate([*names, "O"]):
        goes_on = begun is not None and name[0] in "IE" and before[0] in "BI" and name[2:] == begun[1]
        if begun is not None and not goes_on:
            spans.append((begun[1], begun[0], place - 1))
            begun = None
        if name != "O" and not goes_on:
            begun = (place, name[2:])
        before = name
    closed = {False: "BIES", "BIO": "BI", "BIOES": "ES"}[strict]
    return {span for span in spans if not strict or (names[span[1]][0] in "BS" and names[span[2]][0] in closed)}


def by_hand(predicted, targets, types, strict=False):
    counts = np.zeros((3, len(types)), int)
    for found, true in zip(predicted, targets, strict=True):
        found, true = chunks(found, strict), chunks(true, strict)
        for row, spans in enumerate((found & true, found, true)):
            for kind, _, _ in spans:
                counts[row, types.index(kind)] += 1
    return counts


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("tags", [BIO, BIOES], ids=["BIO", "BIOES"])
def test_the_counts_are_those_of_a_loop_over_words(tags, strict):
    for seed in range(40):
        predicted, targets, mask = drawn(tags, seed)
        found = count(predicted, targets, mask, tags, strict=strict)
        assert all(x.dtype == jnp.int32 for x in found)
        how = ("BIO" if tags is BIO else "BIOES") if strict else False
        expected = by_hand(words(predicted, mask, tags), words(targets, mask, tags), tags.types, how)
        np.testing.assert_array_equal(found, expected)


def test_cases_by_hand():
    def one(predicted, true, **options):
        ids = [np.array([[BIO.names.index(name) for name in row.split()]]) for row in (predicted, true)]
        return [int(sum(x)) for x in Entities.from_tags(*ids, None, BIO, **options)]

    assert one("B-ORG I-ORG O B-LOC", "B-ORG I-ORG O B-LOC") == [2, 2, 2]
    assert one("B-ORG O O B-LOC", "B-ORG I-ORG O B-LOC") == [1, 2, 2]  # a part is not the whole
    assert one("I-ORG I-ORG O O", "B-ORG I-ORG O O") == [1, 1, 1]  # as conlleval has it
    assert one("I-ORG I-ORG O O", "B-ORG I-ORG O O", strict=True) == [0, 0, 1]
    assert one("B-ORG I-LOC O O", "B-ORG I-ORG O O") == [0, 2, 1]
    assert one("O O O O", "O O O O") == [0, 0, 0]


def test_no_entity_reaches_over_a_border_of_segments():
    tags = np.array([[BIO.names.index("B-ORG"), *[BIO.names.index("I-ORG")] * 3]])
    assert Entities.from_tags(tags, tags, None, BIO).true.sum() == 1
    assert Entities.from_tags(tags, tags, None, BIO, np.array([[1, 1, 2, 2]])).true.sum() == 2


@pytest.mark.parametrize("strict", [False, True])
def test_parts_of_the_data_and_more_padding_change_no_count(strict):
    predicted, targets, mask = drawn(BIO, 1)
    whole = count(predicted, targets, mask, BIO, strict=strict)
    parts = [{"e": count(*(x[i::3] for x in (predicted, targets, mask)), BIO, strict=strict)} for i in range(3)]
    padded = [np.pad(x, ((0, 2), (0, 5))) for x in (predicted, targets, mask)]
    for other in (merge(*parts)["e"], count(*padded, BIO, strict=strict)):
        np.testing.assert_array_equal(other, whole)


def test_a_target_that_is_no_tag_is_left_out():
    predicted, targets, mask = drawn(BIO, 2)
    outside = mask == 0
    found = count(predicted, np.where(outside, -100, targets), np.ones_like(mask), BIO)
    np.testing.assert_array_equal(found, count(predicted, targets, mask, BIO))


def test_token_accuracy_and_entity_f1_lie_far_apart():
    """Nothing found at all: most words are outside of entities, so most tags are right, and no entity is."""
    targets = np.zeros((1, 100), np.int32)
    targets[0, [3, 50]] = 1
    predicted = np.zeros_like(targets)
    numbers = compute(
        {"accuracy": Mean((predicted == targets).sum(), 100), "e": Entities.from_tags(predicted, targets, None, BIO)}
    )
    assert numbers["accuracy"] == 0.98
    assert numbers["entity_f1"] == numbers["entity_f1_macro"] == 0


def test_where_there_is_no_entity_scores_are_zero():
    nothing = Entities(*np.zeros((3, 3), np.int32))
    assert set(compute({"e": nothing}).values()) == {0.0}


@pytest.mark.parametrize("name", ["", "X-PER", "B", "B-", "BPER", "o"])
def test_a_name_that_is_no_tag_is_refused(name):
    with pytest.raises(BadInput, match="is not a tag: a tag is O, or B-"):
        Tags(("O", name))


tag = st.integers(0, 6)
rows = st.lists(st.lists(st.tuples(tag, tag, st.booleans()), min_size=1, max_size=LENGTH), min_size=1, max_size=4)


def padded(drawn_rows, tags):
    arrays = np.zeros((3, len(drawn_rows), LENGTH), np.int32)
    for row, places in enumerate(drawn_rows):
        arrays[:, row, : len(places)] = np.array(places, np.int32).T
    return arrays[0] % len(tags.names), arrays[1] % len(tags.names), arrays[2]


@pytest.mark.slow
@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("tags", [BIO, BIOES], ids=["BIO", "BIOES"])
@settings(max_examples=400)
@given(drawn_rows=rows)
@example(drawn_rows=[[(0, 0, True)]])
def test_scores_are_seqevals(drawn_rows, tags, strict):
    seqeval = pytest.importorskip("seqeval.metrics")
    from seqeval.scheme import IOB2, IOBES

    predicted, targets, mask = padded(drawn_rows, tags)
    counts = jax.tree.map(np.asarray, count(predicted, targets, mask, tags, strict=strict))
    texts = words(targets, mask, tags), words(predicted, mask, tags)
    how = {"mode": "strict", "scheme": IOB2 if tags is BIO else IOBES} if strict else {}
    how["zero_division"] = 0
    if not (counts.predicted + counts.true).any():
        return  # seqeval fails where there is no entity
    found = compute({"e": counts})
    assert found["entity_precision"] == seqeval.precision_score(*texts, **how)
    assert found["entity_recall"] == seqeval.recall_score(*texts, **how)
    assert found["entity_f1"] == seqeval.f1_score(*texts, **how)
    assert found["entity_f1_macro"] == seqeval.f1_score(*texts, average="macro", **how)
    assert entities.entity_averages(counts)["weighted"]["f1"] == seqeval.f1_score(*texts, average="weighted", **how)
