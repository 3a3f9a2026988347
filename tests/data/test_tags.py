import pytest
from hypothesis import given
from hypothesis import strategies as some

from jaxlm.data.labelled_text.tags import convert, entities, tag_names, to_tags

SCHEMES = ("IOB1", "BIO", "BIOES")


@some.composite
def sentences(draw):
    """Entities of a sentence, in order and apart, and its length."""
    lengths = draw(
        some.lists(some.tuples(some.integers(0, 2), some.integers(1, 3), some.sampled_from("XY")), max_size=5)
    )
    found, place = [], 0
    for gap, length, kind in lengths:
        found.append((kind, place + gap, place + gap + length))
        place += gap + length
    return found, place + draw(some.integers(0, 2))


@given(sentences(), some.sampled_from(SCHEMES), some.sampled_from(SCHEMES))
def test_every_scheme_says_the_same(sentence, scheme, other):
    found, length = sentence
    tags = to_tags(found, length, scheme)
    assert len(tags) == length
    assert set(tags) <= set(tag_names("XY", scheme))
    assert entities(tags, scheme) == found
    assert convert(convert(tags, scheme, other), other, scheme) == tags


def test_schemes_by_hand():
    found = [("X", 0, 2), ("X", 2, 3), ("Y", 4, 5)]
    assert to_tags(found, 6, "IOB1") == ["I-X", "I-X", "B-X", "O", "I-Y", "O"]
    assert to_tags(found, 6, "BIO") == ["B-X", "I-X", "B-X", "O", "B-Y", "O"]
    assert to_tags(found, 6, "BIOES") == ["B-X", "E-X", "S-X", "O", "S-Y", "O"]
    assert tag_names(["Y", "X"], "BIOES")[:5] == ("O", "B-X", "I-X", "E-X", "S-X")


@pytest.mark.slow
@given(sentences(), some.sampled_from(["BIO", "BIOES"]))
def test_seqeval_finds_the_same_entities(sentence, scheme):
    labels = pytest.importorskip("seqeval.metrics.sequence_labeling")
    found, length = sentence
    assert labels.get_entities(to_tags(found, length, scheme)) == [
        (kind, start, stop - 1) for kind, start, stop in found
    ]


@pytest.mark.parametrize(
    ("scheme", "tags", "place"),
    [
        ("BIO", ["O", "I-X"], 1),
        ("BIO", ["B-X", "I-Y"], 1),
        ("BIO", ["B-X", "E-X"], 1),
        ("BIO", ["B"], 0),
        ("BIO", ["B-"], 0),
        ("BIO", ["o"], 0),
        ("BIO", ["-X"], 0),
        ("BIOES", ["B-X", "O"], 1),
        ("BIOES", ["B-X"], 1),
        ("BIOES", ["B-X", "B-X"], 1),
        ("BIOES", ["S-X", "I-X"], 1),
        ("BIOES", ["E-X"], 0),
        ("IOB1", ["S-X"], 0),
    ],
)
def test_tags_that_cannot_stand_there_are_refused(scheme, tags, place):
    with pytest.raises(ValueError, match=rf"^\({place}, "):
        entities(tags, scheme)
