"""What `scripts/score_attributes.py` says of real pictures, and of spoilt ones."""

import numpy as np
import pytest

from jaxlm.data.captions.attributes import COLOURS, PLACES, CaptionedAttributes
from jaxlm.data.captions.classes import DIGIT_WORDS
from jaxlm.data.images.sources import Digits
from whole_path import ROOT

SPEC = CaptionedAttributes(images=Digits(), shrink=1, size=16, width=6)


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    import score_attributes

    return score_attributes


def real():
    """The pictures of the evaluation, their captions and the grey digits that they are made of."""
    part = SPEC.loaded().eval
    texts = [part.texts[number] for number in part.choices[:, 0]]
    rows = np.arange(len(texts))
    return part.images.take(rows, None)["image"], texts, SPEC.images.load().eval.take(rows, None)["image"]


def a_word_further(text, words, place):
    """The caption with its word at this place exchanged for the next of the words."""
    parts = text.split(maxsplit=3)
    parts[place] = words[(words.index(parts[place]) + 1) % len(words)]
    return " ".join(parts)


def test_right_captions_are_right_and_a_wrong_word_is_wrong_alone(script):
    pictures, texts, grey = real()
    labels = np.array([DIGIT_WORDS.index(text.split()[2]) for text in texts])

    def classify(images):
        np.testing.assert_allclose(images.astype(int), grey.astype(int), atol=2)  # colours are rounded
        return labels, None

    assert script.judge(pictures, texts, SPEC, classify).all()
    kinds = [(2, DIGIT_WORDS), (1, [*COLOURS]), (3, [*PLACES])]
    for column, (place, words) in enumerate(kinds):
        wrong = [a_word_further(text, [*words], place) for text in texts]
        found = script.judge(pictures, wrong, SPEC, classify)
        assert not found[:, column].any()
        assert np.delete(found, column, 1).all()


def test_pictures_of_two_colours_or_two_places_or_without_light_have_none(script):
    pictures, _, _ = real()
    turned = np.rot90(pictures, axes=(1, 2))
    colours, places, _ = script.look(np.maximum(pictures, turned), 8, 8)  # left or right, and top or bottom
    assert (places == -1).all()
    assert (colours >= 0).all()
    colours, places, _ = script.look(np.maximum(pictures, turned[..., ::-1]), 8, 8)
    assert (colours[script.look(pictures, 8, 8)[0] == 2] == -1).all()  # blue becomes another ink backwards
    for dark in (0, 30):
        colours, places, _ = script.look(np.full((1, 16, 16, 3), dark, np.uint8), 8, 8)
        assert (colours, places) == (-1, -1)


def test_the_line_counts_all_three_together_and_each(script):
    right = np.array([[1, 1, 1], [1, 1, 0], [0, 1, 0], [1, 1, 1]], bool)
    line = script.agreement("pictures", right)
    assert line == "pictures: 2 of 4 agree with their caption, 50.00% (digit 75.00%, colour 100.00%, place 50.00%)"
