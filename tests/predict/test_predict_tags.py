"""Words and entities of a text: the counts of an evaluation, places of characters, rows that go on."""

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as some

from jaxlm.data import Words
from jaxlm.data.labelled_text.tags import to_tags
from jaxlm.metrics import Entities, Tags
from jaxlm.predict.tags import FindEntities, TokenizeWords, spans_of

NAMES = ("O", "B-LOC", "I-LOC", "E-LOC", "S-LOC", "B-PER", "I-PER", "E-PER", "S-PER")
TAGS = Tags(NAMES)


@given(some.lists(some.sampled_from(NAMES), min_size=1, max_size=12))
@example(["I-LOC", "I-LOC", "O", "I-PER", "B-PER"])
def test_the_entities_are_those_that_an_evaluation_counts(tags):
    numbers = np.array([[NAMES.index(tag) for tag in tags]])
    found = spans_of(tags)
    own = to_tags(found, len(tags), "BIOES")
    again = np.array([[NAMES.index(tag) for tag in own]])
    counts = Entities.from_tags(numbers, again, None, TAGS)
    assert np.asarray(counts.predicted).tolist() == [sum(kind == one for one, *_ in found) for kind in TAGS.types]
    assert np.array_equal(counts.predicted, counts.right)  # of equal extent too
    assert np.array_equal(counts.true, counts.right)


TOKENIZER = Words(50).build(["Ada went to New York ."])


def tagged(text, tags, widths=(4, 8)):
    """The answer for a text whose words have these tags."""
    prepare = TokenizeWords(TOKENIZER, widths)
    (prepared,) = prepare([text])
    left, outputs = [TAGS.names.index(tag) for tag in tags], []
    for row, places in zip(prepared.rows, prepared.context.places, strict=True):
        logits = np.zeros((len(row["tokens"]), len(NAMES)), np.float32)
        for place in places:
            logits[place, left.pop(0)] = 1
        outputs.append({"logits": logits})
    assert not left
    return FindEntities(NAMES)(outputs, prepared.context)


def test_places_count_the_characters_of_the_text():
    text = "Ada  went to New York."
    answer = tagged(text, ["S-PER", "O", "O", "B-LOC", "E-LOC", "O"])
    assert answer["words"] == ["Ada", "went", "to", "New", "York", "."]
    assert answer["entities"] == [
        {"type": "PER", "text": "Ada", "start": 0, "end": 3},
        {"type": "LOC", "text": "New York", "start": 13, "end": 21},
    ]
    assert all(text[e["start"] : e["end"]] == e["text"] for e in answer["entities"])


def test_words_that_are_given_as_a_list_stay_as_they_are():
    answer = tagged(["U.S.", "of", "New York"], ["S-LOC", "O", "S-LOC"])
    assert answer["words"] == ["U.S.", "of", "New York"]
    assert answer["entities"][1] == {"type": "LOC", "text": "New York", "start": 8, "end": 16}


@given(some.lists(some.sampled_from(["Ada", "to", "x1", "."]), max_size=30), some.integers(1, 6))
def test_every_word_of_a_long_text_has_a_tag(words, width):
    tags = ["S-PER" if word == "Ada" else "O" for word in words]
    answer = tagged(" ".join(words), tags, widths=(width,))
    assert answer["words"] == words
    assert [entity["text"] for entity in answer["entities"]] == [word for word in words if word == "Ada"]
