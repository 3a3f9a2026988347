"""Transcripts of recordings: windows that overlap, words with their times, each word once."""

import numpy as np
import pytest

from jaxlm.data.tokenizers.files import read_tokenizer
from jaxlm.errors import BadInput
from jaxlm.predict.predictor import Prepared
from jaxlm.predict.sound.transcripts import OVERLAP, ReadWindows, WriteTranscript
from tiny_whisper import IDS, write_tokenizer

WINDOW, PLACE = 600, 10  # samples at 100 Hz: six seconds, and a tenth


@pytest.fixture(scope="module")
def transcript(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder)
    return WriteTranscript(read_tokenizer(folder, None), 100, WINDOW, PLACE)


def row(transcript, words, slots=60):
    """What a model gives for words with their places in the window, each a letter a place."""
    tokens, starts = [], []
    for word, place in words:
        ids = transcript.tokenizer.encode(f" {word}")
        tokens += [*ids]
        starts += [place + number for number in range(len(ids))]
    attention = np.full((slots + 1, WINDOW // PLACE), -1.0, np.float32)
    bounds = [0, *starts[1:], starts[-1] + 1, WINDOW // PLACE]
    for number in range(len(tokens) + 1):
        attention[number, bounds[number] : bounds[number + 1]] = 1.0
    padded = np.pad(np.array(tokens, np.int32), (0, slots - len(tokens)))
    return {"tokens": padded, "lengths": np.int32(len(tokens)), "language": IDS["<|de|>"], "attention": attention}


def test_words_have_the_times_of_their_letters(transcript):
    answer = transcript([row(transcript, [("ab", 0), ("cde", 20)])], ([0], 590))
    assert answer["text"] == "ab cde"
    assert answer["language"] == "de"
    assert answer["words"] == [{"word": "ab", "start": 0.1, "end": 2.0}, {"word": "cde", "start": 2.1, "end": 2.4}]


def test_a_word_of_two_windows_is_written_once_and_a_cut_one_is_taken_from_the_other(transcript):
    one = row(transcript, [("aa", 0), ("bb", 52), ("c", 58)])  # the last one is cut
    two = row(transcript, [("b", 0), ("bb", 2), ("cc", 8), ("dd", 30)])  # begins 5 seconds later, within bb
    answer = transcript([one, two], ([0, 500], 1000))
    assert [word["word"] for word in answer["words"]] == ["aa", "bb", "cc", "dd"]
    assert answer["text"] == "aa bb cc dd"
    starts = [word["start"] for word in answer["words"]]
    assert starts == sorted(starts)


class Characters:
    """A tokenizer of code points."""

    def decode(self, ids):
        return "".join(map(chr, ids))


def test_a_script_without_spaces_is_written_once_too():
    said = [chr(0x3042 + number) for number in range(110)]  # a character in each tenth of a second

    def window(text):
        attention = np.eye(len(text) + 1, 60, dtype=np.float32)
        ids = np.array([ord(letter) for letter in text], np.int32)
        return {"tokens": ids, "lengths": np.int32(len(ids)), "language": ord("x"), "attention": attention}

    transcript = WriteTranscript(Characters(), 100, WINDOW, PLACE)
    answer = transcript([window(said[:60]), window(said[50:])], ([0, 500], 1100))
    assert answer["text"] == "".join(said) == "".join(word["word"] for word in answer["words"])
    mixed = [transcript([window(text)], ([0], 600))["words"] for text in ("ยินดี", "日本。 yes, 「はい」", "a, b")]
    words = [[word["word"] for word in found] for found in mixed]
    assert words == [["ยิ", "น", "ดี"], ["日", "本。", "yes,", "「", "は", "い」"], ["a,", "b"]]


def test_silence_gives_an_empty_text(transcript):
    empty = {"tokens": np.zeros(4, np.int32), "lengths": np.int32(0), "language": 0, "attention": np.zeros((5, 60))}
    assert transcript([empty], ([0], 600)) == {"text": "", "language": None, "words": []}


@pytest.mark.parametrize("count", [1, 600, 601, 1099, 1100, 1101, 5000])
def test_every_sample_is_in_a_window_and_neighbours_share_a_part(count):
    (found,) = ReadWindows(100, (WINDOW,))([np.linspace(-1, 1, count, dtype=np.float64)])
    assert isinstance(found, Prepared)
    starts, samples = found.context
    assert samples == count
    assert starts == [number * (WINDOW - WINDOW // OVERLAP) for number in range(len(starts))]
    covered = np.zeros(count, int)
    for start, part in zip(starts, found.rows, strict=True):
        assert part["audio"].shape == (WINDOW,)
        length = int(part["samples"])
        covered[start : start + length] += 1
        assert not part["audio"][length:].any()
    assert (covered >= 1).all()
    assert (covered == 2).sum() == (len(starts) - 1) * WINDOW // OVERLAP


def test_what_is_no_recording_is_its_own_error(tmp_path):
    (tmp_path / "text.wav").write_text("no sound")
    found = list(ReadWindows(100, (WINDOW,))([tmp_path / "text.wav", np.zeros(5), [1, 2], np.full(3, np.nan)]))
    assert [isinstance(one, BadInput) for one in found] == [True, False, True, True]
