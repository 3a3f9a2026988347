"""Both host halves of every predictor are data: written as JSON and read again, they give the same answers."""

import json

import numpy as np
import pytest

from jaxlm.data import Bytes, Characters, WordPiece, Words
from jaxlm.data.audio.spectrogram import LogMel
from jaxlm.data.tables.neighbours import Neighbours
from jaxlm.data.tables.schema import fit_schema
from jaxlm.data.tables.targets import fit_number_target
from jaxlm.data.text.clean import Clean
from jaxlm.data.tokenizers.specs import Subwords
from jaxlm.decode.spans import AnswerSearch
from jaxlm.decode.speech.ctc import CTCSearch
from jaxlm.decode.speech.ngram import NGram
from jaxlm.errors import BadInput
from jaxlm.losses import Regression
from jaxlm.predict.answers import ExtractAnswers, TokenizeQuestions
from jaxlm.predict.classes import ClassProbabilities
from jaxlm.predict.continuations import DecodeTokens, TokenizeChats, TokenizePrompts
from jaxlm.predict.images import ReadImages
from jaxlm.predict.masks import FillMasks, TokenizeMasked
from jaxlm.predict.recommendations import FindUsers, TopItems
from jaxlm.predict.sound.speech import ReadSpeech, WriteHeard
from jaxlm.predict.sound.transcripts import ReadWindows, WriteTranscript
from jaxlm.predict.sound.vocoders import WriteCopy
from jaxlm.predict.sound.voices import ReadTexts, WriteSpeech
from jaxlm.predict.tables.rows import EncodeRows, RestoreNumber, RowClass
from jaxlm.predict.tags import FindEntities, TokenizeWords
from jaxlm.predict.texts import TokenizeTexts
from jaxlm.predict.written import DecodeWritten, TokenizeSources
from jaxlm.runs.serialise import from_json, to_json

TEXT = "You may obtain a copy of the licence.\n"
BYTES, LETTERS = Bytes().build([TEXT]), Characters().build([TEXT])
WORDS, PIECES = Words(50).build([TEXT]), WordPiece(80).build([TEXT])
SPANS = Subwords(262, sentinels=2).build([TEXT])
NAMES = ("O", "B-LOC", "I-LOC")
IMAGE = np.arange(192, dtype=np.uint8).reshape(8, 8, 3)
GUESSES = {"tokens": np.arange(16).reshape(16, 1).repeat(5, 1), "probabilities": np.full((16, 5), 0.2, np.float32)}
SAID = {
    "log_probs": np.log(np.full((9, 4), 0.25) + 0.5 * np.eye(4)[[3, 0, 3, 1, 1, 3, 2, 3, 3]]),
    "outputs": np.int32(8),
}
CELLS = {"a": np.array(["1", "2.5", None], object), "b": np.array(["u", "v", "u"], object)}
CELLS["y"] = np.array(["3", "5", "4.5"], object)
SCHEMA = fit_schema(
    CELLS,
    ["row"] * 3,
    fit_number_target(CELLS["y"], ["row"] * 3, "y", "log"),
    scale="quantile",
    neighbours=(Neighbours(("a",), count=1),),
    **{"strip": "", "least": 1, "most": 9},
)
HALVES = {
    "numbers of rows": (
        EncodeRows(SCHEMA, ("a", "b", "y")),
        RestoreNumber(Regression(), SCHEMA.target),
        {"a": 1.5, "b": "new", "more": 1},
        {"logits": np.float32([0.5])},
    ),
    "classes of rows": (
        EncodeRows(SCHEMA),
        RowClass(NAMES, 2),
        {"a": None, "b": "u"},
        {"logits": np.arange(3.0)},
    ),
    "speech": (
        ReadSpeech(800, (40, 90)),
        WriteHeard(Characters().build(["a b"]), CTCSearch(4, order=2), 3, 0.5, NGram.count([[1, 0, 2]], 2, 3)),
        np.linspace(-0.5, 0.5, 77),
        SAID,
    ),
    "windows of speech": (
        ReadWindows(800, (60,)),
        WriteTranscript(BYTES, 800, 60, 6),
        np.linspace(-0.5, 0.5, 130),
        {"tokens": np.array([97, 32, 98]), "lengths": np.int32(3), "language": 0, "attention": np.eye(4, 10)},
    ),
    "voices": (
        ReadTexts(tokenizer=LETTERS, speakers=("ann", "bob"), bands=8, seed=3, speaker="bob"),
        WriteSpeech(
            features=LogMel(rate=800, window=32, hop=16, bands=8),
            centre=-3.0,
            spread=2.0,
            speakers=("ann", "bob"),
            iterations=1,
        ),
        "you may",
        {"mel": np.ones((12, 8), np.float32), "frames": np.int32(10)},
    ),
    "copies": (
        ReadSpeech(800, (40, 90)),
        WriteCopy(800),
        np.linspace(-0.5, 0.5, 77),
        {"sound": np.linspace(-1.5, 0.5, 90), "samples": np.int32(77)},
    ),
    "images": (ReadImages((4, 4, 1), "centre"), ClassProbabilities(NAMES, 2), IMAGE, {"logits": np.arange(3.0)}),
    "texts": (
        TokenizeTexts(WORDS, (4, 16), Clean(spaces=True), 1),
        ClassProbabilities(NAMES),
        "You may  obtain",
        {"logits": np.arange(3.0)},
    ),
    "pairs": (
        TokenizeTexts(PIECES, (4, 32), pair=True),
        ClassProbabilities(NAMES),
        ["a copy", "of"],
        {"logits": np.arange(3.0)},
    ),
    "tags": (TokenizeWords(PIECES, (8, 32)), FindEntities(NAMES), "a copy of", {"logits": np.eye(32, 3)}),
    "answers": (
        TokenizeQuestions(PIECES, (16, 24), 2),
        ExtractAnswers(AnswerSearch(3, 0.5), 2),
        {"question": "what ?", "context": TEXT * 3},
        {"logits": np.eye(24, 2)},
    ),
    "continuations": (
        TokenizePrompts(tokenizer=LETTERS, context=32, length=4, temperature=0.5, seed=3),
        DecodeTokens(LETTERS),
        "You may",
        {"new": np.array([5, 6, 7, 8])},
    ),
    "chats": (
        TokenizeChats(tokenizer=BYTES, context=64, length=4, template="plain"),
        DecodeTokens(BYTES, (0,)),
        [{"role": "user", "content": "a copy?"}],
        {"new": np.array([97, 98, 0, 99])},
    ),
    "written": (
        TokenizeSources(SPANS, (4, 8), lower=True, clean=Clean(spaces=True), cut=True, sentinels=True),
        DecodeWritten(SPANS),
        "A copy <extra_id_1> of the licence",
        {"written": np.array([97, 261, 98, 0, 99])},
    ),
    "rankings": (
        FindUsers(("ann", "bob"), ("x", "y", "z"), ((0,), (1, 2)), 2),
        TopItems(("x", "y", "z"), 2),
        {"user": "ann"},
        {"logits": np.arange(3.0)},
    ),
    "masks": (TokenizeMasked(PIECES, 16), FillMasks(PIECES, 2), "a [MASK] of", GUESSES),
}


@pytest.mark.parametrize("name", HALVES)
def test_what_was_written_as_json_answers_as_before(name):
    preprocess, postprocess, given, outputs = HALVES[name]
    before, after = (from_json(json.loads(json.dumps(to_json(half)))) for half in (preprocess, postprocess))
    assert (before, after) == (preprocess, postprocess)
    (expected,), (found,) = preprocess([given]), before([given])
    assert len(found.rows) == len(expected.rows) > 0
    for one, other in zip(found.rows, expected.rows, strict=True):
        assert one.keys() == other.keys()
        assert all(np.array_equal(one[key], other[key]) and one[key].dtype == other[key].dtype for key in one)
    answers = [post([outputs] * len(x.rows), x.context) for post, x in ((postprocess, expected), (after, found))]
    assert answers[0] == answers[1] == json.loads(json.dumps(answers[0]))


def test_what_ends_an_answer_is_left_out_of_it():
    preprocess, postprocess, given, outputs = HALVES["chats"]
    (prepared,) = preprocess([given])
    assert postprocess([outputs], prepared.context) == {"text": "ab"}
    spelt = DecodeTokens(BYTES, (98, 0))
    assert spelt([outputs], prepared.context) == {"text": "a"}


def test_words_in_the_place_of_masks():
    preprocess, postprocess, given, _ = HALVES["masks"]
    (prepared,) = preprocess([given])
    place = prepared.context.before + prepared.context.places[0]
    assert prepared.rows[0]["tokens"][place] == PIECES.special.mask
    tokens = np.zeros((16, 5), np.int32)
    copy = PIECES.encode("copy")
    tokens[place] = copy[0]
    answer = postprocess([{"tokens": tokens, "probabilities": np.full((16, 5), 0.25, np.float32)}], prepared.context)
    assert answer["text"] == PIECES.decode([*PIECES.encode("a"), copy[0], *PIECES.encode("of")])
    assert answer["masks"] == [[{"token": PIECES.decode([copy[0]]), "probability": 0.25}] * 2]


BAD = {
    "numbers of rows": [
        ({"a": "x", "b": 1}, "the row: 'a' is 'x', not a number"),
        ({"b": 1}, "the row has no 'a'"),
        ({"a": [1], "b": 1}, "'a' has a list"),
        ("a", "a row is a str"),
    ],
    "images": [(3, "uint8"), (np.zeros((2, 2), np.float32), "float32 \\[2, 2\\]"), (b"", "an empty file")],
    "texts": [("  ", "empty text"), (3, "not a text"), (["a", "b"], "not a text")],
    "pairs": [("a", "not a pair of texts"), (["a", ""], "empty text")],
    "answers": [
        ("a", "the input is not JSON"),
        ({"question": "a"}, "not a question"),
        (["a", " "], "an empty context"),
    ],
    "tags": [(3, "not a text or a list of words"), (["a", " "], "not a text or a list")],
    "continuations": [(3, "not a text"), ("", "no token that begins one"), ("é", "'é' is not among")],
    "chats": [("", "not a conversation"), ([{"role": "judge"}], "has the role 'judge'"), ({}, "has no messages")],
    "masks": [("a copy", "not a text with \\[MASK\\]"), ("[MASK] " * 20, "a row of this model holds 16")],
}


@pytest.mark.parametrize(("name", "given", "told"), [(name, *case) for name, cases in BAD.items() for case in cases])
def test_an_input_that_cannot_be_read_stands_for_itself_among_others(name, given, told):
    preprocess, _, good, _ = HALVES[name]
    first, error, last = preprocess([good, given, good])
    assert isinstance(error, BadInput)
    with pytest.raises(BadInput, match=told):
        raise error
    assert len(first.rows) == len(last.rows)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"length": 0}, "length is 0"),
        ({"length": 32}, "the model's context 32"),
        ({"temperature": -1.0}, "temperature"),
        ({"top_p": 0.0}, "top_p"),
    ],
)
def test_options_out_of_their_range_are_refused(options, told):
    with pytest.raises(BadInput, match=told):
        TokenizePrompts(tokenizer=LETTERS, context=32, **options)
