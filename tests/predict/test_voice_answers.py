"""Texts as rows for a model that speaks, its spectrograms as sound, and sound as files."""

import argparse
import dataclasses
import json

import numpy as np
import pytest
import soundfile

from jaxlm.data.audio.spectrogram import LogMel
from jaxlm.data.tokenizers.specs import Characters
from jaxlm.errors import BadInput
from jaxlm.predict.sound.vocoders import by_griffin_lim, load_vocoder
from jaxlm.predict.sound.voices import ReadTexts, WriteSpeech, normal_noise
from jaxlm.verbs.predict import Input, keep_files, table_lines

WORDS = Characters().build(["seven", "three"])
FEATURES = LogMel(rate=800, window=64, hop=16, bands=8, power=1.0, floor=1e-4)
READ = ReadTexts(tokenizer=WORDS, speakers=("ann", "bob"), bands=8, frames=5)
WRITE = WriteSpeech(features=FEATURES, centre=-3.0, spread=2.0, speakers=("ann", "bob"), iterations=2)


def rows(given, read=READ):
    (prepared,) = read([given])
    if isinstance(prepared, BadInput):
        raise prepared
    return prepared.rows, prepared.context


def test_a_text_is_a_row_for_each_word_where_there_is_no_space():
    found, voice = rows("Seven three")
    assert [row["tokens"][: row["token_lengths"]].tolist() for row in found] == [
        [WORDS.vocab, *WORDS.encode(word), WORDS.vocab] for word in ("seven", "three")
    ]
    assert voice == 0
    assert all(row["noise"].shape == (8 * 5, 8) for row in found)
    assert not np.array_equal(found[0]["noise"], found[1]["noise"])


def test_a_text_is_one_row_where_spaces_are_tokens():
    tokenizer = Characters().build(["seven three"])
    (row,), _ = rows("seven three", dataclasses.replace(READ, tokenizer=tokenizer))
    assert row["tokens"][1:12].tolist() == tokenizer.encode("seven three").tolist()


@pytest.mark.parametrize("given", [("seven", "bob"), ["seven", "bob"], {"text": "seven", "speaker": "bob"}])
def test_an_input_may_name_its_speaker(given):
    (row,), voice = rows(given)
    assert row["speaker"] == voice == 1
    assert rows("seven", dataclasses.replace(READ, speaker="bob"))[1] == 1
    assert rows({"text": "seven"})[1] == 0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("", "an empty text: give some words or leave it out"),
        ("  ", "an empty text: give some words or leave it out"),
        ("size", "the character 'i' is not among the"),
        (("seven", "eve"), "there is no speaker 'eve': the voices are ann, bob"),
        ({"speaker": "ann"}, "not a text: give one"),
        (7, "not a text: give one"),
    ],
)
def test_what_cannot_be_spoken_is_an_answer_of_one_line(given, message):
    (found,) = READ([given])
    assert isinstance(found, BadInput)
    assert message in str(found)
    assert "\n" not in str(found)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"speaker": "eve"}, "there is no speaker 'eve': the voices are ann, bob"),
        ({"speed": 0.0}, "speed 0.0"),
        ({"speed": 1e-7}, r"speed 1e-07 .* 0.25 to 4.0"),
        ({"speed": 0.249}, "speed 0.249"),
        ({"speed": 4.1}, "speed 4.1"),
        ({"speed": float("nan")}, "speed nan"),
        ({"temperature": -1.0}, "temperature is -1.0"),
        ({"seed": -1}, "seed -1"),
    ],
)
def test_an_option_that_cannot_be_is_refused_in_one_line(option, message):
    with pytest.raises(BadInput, match=message):
        dataclasses.replace(READ, **option)


@pytest.mark.parametrize("text", ["seven " * 4000, "seven" * 8000])
def test_a_text_that_needs_too_much_room_is_refused_before_it_has_any(monkeypatch, text):
    monkeypatch.setattr("jaxlm.predict.sound.voices.normal_noise", lambda *_: pytest.fail("noise is drawn"))
    (found,) = READ([text])
    assert isinstance(found, BadInput)
    assert "frames, of at most 131,072: give it in parts" in str(found)


def test_noise_is_normal_and_longer_noise_begins_with_the_same():
    short, long = normal_noise((1, 2), 50, 8), normal_noise((1, 2), 500, 8)
    np.testing.assert_array_equal(short, long[:50])
    assert not np.array_equal(short, normal_noise((1, 3), 50, 8))
    assert abs(long.mean()) < 0.06
    assert abs(long.std() - 1) < 0.05
    cold = rows("seven", dataclasses.replace(READ, temperature=0.0))[0][0]
    assert not cold["noise"].any()


def spectrogram(frames):
    times = np.arange((frames - 1) * FEATURES.hop) / FEATURES.rate
    tone = np.sin(2 * np.pi * 150 * times)[None].astype(np.float32)
    return np.asarray(FEATURES(tone))[0]


def test_an_answer_is_the_pieces_with_pauses_between_them():
    mel = (spectrogram(20) + 3.0) / 2.0
    row = {"mel": np.pad(mel, ((0, 4), (0, 0))), "frames": np.int32(20)}
    one, two = WRITE([row], 1), WRITE([row, row], 1)
    samples = 19 * 16
    assert len(one["samples"]) == samples
    assert len(two["samples"]) == 2 * samples + 120
    assert two["samples"][:samples] == two["samples"][samples + 120 :] == one["samples"]
    assert not any(two["samples"][samples : samples + 120])
    assert (one["rate"], one["seconds"], one["speaker"]) == (800, samples / 800, "bob")
    assert json.loads(json.dumps(one)) == one
    direct = by_griffin_lim(FEATURES, 2)(mel * 2.0 - 3.0)
    np.testing.assert_allclose(one["samples"], direct, atol=1e-6)


def test_a_text_that_needs_more_frames_than_there_are_is_refused():
    row = {"mel": np.zeros((10, 8), np.float32), "frames": np.int32(11)}
    with pytest.raises(BadInput, match=r"^a text of 11 frames, and there is room for 10: raise decode.frames$"):
        WRITE([row], 0)


def test_a_vocoder_that_is_not_there_is_refused_in_one_line(tmp_path):
    with pytest.raises(BadInput) as raised:
        load_vocoder(str(tmp_path / "none"), FEATURES)
    assert "\n" not in str(raised.value)


def test_sound_among_the_answers_is_written_to_files(tmp_path):
    answer = {"samples": [0.0, 0.5, -0.5], "rate": 800, "seconds": 3 / 800, "speaker": "bob"}
    found = keep_files([(Input("Seven / three!", "x"), answer), (Input("y", "y"), BadInput("broken"))], str(tmp_path))
    path = tmp_path / "0001-three-bob.wav"
    assert found[0][1] == {"audio": str(path), "rate": 800, "seconds": 3 / 800, "speaker": "bob"}
    samples, rate = soundfile.read(path)
    assert rate == 800
    np.testing.assert_allclose(samples, answer["samples"], atol=1e-4)
    for speaker, name in {"LJ/2": "LJ-2", "../x": "--x", "José.1": "José.1"}.items():
        ((_, kept),) = keep_files([(Input("a", "a"), answer | {"speaker": speaker})], str(tmp_path))
        assert kept["audio"] == str(tmp_path / f"0001-a-{name}.wav")
    (line,) = table_lines(found, argparse.Namespace())
    assert line == f"Seven / three!  {path}  0.00 s"


def test_a_folder_for_answers_without_sound_is_refused(tmp_path):
    with pytest.raises(BadInput, match=r"^--output is for answers that are sound, pictures or boxes, [^\n]+$"):
        keep_files([(Input("a", "a"), {"text": "b"})], str(tmp_path))
    assert keep_files([(Input("a", "a"), {"text": "b"})], None) == [(Input("a", "a"), {"text": "b"})]
