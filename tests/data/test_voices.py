"""Recordings as voices: boundaries of texts, numbers of speakers, normalised bands; and what cannot be is refused."""

import dataclasses
import json

import numpy as np
import pytest
import soundfile

from jaxlm.data.audio import LogMel, Manifest, SpokenDigits, Strings
from jaxlm.data.audio.pictures import SCALE, spectrogram_png
from jaxlm.data.audio.voices import SPEAKERS, Sounds, Voices, read_speakers
from jaxlm.data.tokenizers.specs import Characters
from jaxlm.errors import BadInput
from jaxlm.models.matcha import Matcha

FEATURES = LogMel(rate=800, window=20, hop=8, bands=4, power=1.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    home = tmp_path_factory.mktemp("digits")
    draw = np.random.default_rng(0)
    for digit in (0, 1):
        for speaker in "ab":
            for index in range(7):
                size = 60 + 10 * index + 30 * digit
                soundfile.write(home / f"{digit}_{speaker}_{index}.wav", 0.3 * draw.normal(size=size), 800)
    return home


def voices(folder, **fields):
    speech = SpokenDigits(
        folder=str(folder), tokenizer=Characters(), features=FEATURES, widths=(160,), batch=4, eval_batch=4
    )
    return Voices(speech=dataclasses.replace(speech, **fields), centre=-3.0, spread=2.0)


def test_texts_have_boundaries_and_recordings_their_speakers(folder):
    data = voices(folder)
    tokenizer, loaded = data.build_tokenizer(), data.speech.loaded().eval.rows
    assert data.speakers == ("a", "b")
    for index in range(len(data.eval())):
        raw = data.eval()[index]
        found = data.prepare(raw)
        for row in np.flatnonzero(raw["mask"]):
            number = raw["row"][row]
            place = loaded.numbers.tolist().index(number)
            text, samples = loaded.texts[number], loaded.samples[place]
            expected = [data.boundary, *tokenizer.encode(text), data.boundary]
            length = int(found["token_lengths"][row])
            assert found["tokens"][row, :length].tolist() == expected
            assert not np.asarray(found["tokens"][row, length:]).any()
            assert raw["speaker"][row] == data.speakers.index(loaded.speakers[place])
            mel = np.asarray(FEATURES(samples[None] / np.float32(32768)))[0]
            frames = int(found["frames"][row])
            assert frames == len(mel)
            np.testing.assert_allclose(found["mel"][row, :frames], (mel + 3) / 2, atol=1e-4)
            assert not np.asarray(found["mel"][row, frames:]).any()
            np.testing.assert_allclose(data.restored(data.normalised(mel)), mel, atol=1e-5)


def test_a_model_that_does_not_fit_is_refused_with_the_option(folder):
    fits = Matcha(vocab=8, speakers=2, bands=4)
    voices(folder).check(fits.clone(vocab=voices(folder).boundary + 1))
    for name, value in (("vocab", 99), ("speakers", 3), ("bands", 5)):
        with pytest.raises(
            BadInput, match=rf"^model.{name} is {value}, and the data have \d+: set --model.{name} \d+$"
        ):
            voices(folder).check(fits.clone(**{"vocab": voices(folder).boundary + 1, name: value}))


def test_a_speaker_of_the_evaluation_alone_is_named(folder):
    with pytest.raises(BadInput, match=r"0_b_0.wav: speaker 'b' has no recordings for training: [^\n]+$"):
        voices(folder, leave_out="b").eval()


@pytest.mark.parametrize("fields", [{"strings": Strings()}, {"augment": ("something",)}], ids=lambda x: next(iter(x)))
def test_what_is_drawn_for_recognition_is_refused(folder, fields):
    data = voices(folder, **fields)
    with pytest.raises(BadInput, match=rf"^data.speech.{next(iter(fields))} is set, [^\n]+$"):
        data.check(Matcha(vocab=8, speakers=2, bands=4))


def test_a_spread_of_nothing_is_refused(folder):
    data = dataclasses.replace(voices(folder), spread=0.0)
    with pytest.raises(BadInput, match=r"^data.spread is 0.0: it must be above 0$"):
        data.check(Matcha(vocab=data.boundary + 1, speakers=2, bands=4))


def test_texts_with_more_tokens_than_frames_are_counted(folder, tmp_path):
    lines = [{"audio": str(folder / "1_a_3.wav"), "text": text} for text in ("ab", "ab" * 40)]
    (tmp_path / "some.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    files = dict.fromkeys(("train_file", "eval_file"), str(tmp_path / "some.jsonl"))
    data = Voices(speech=Manifest(**files, features=FEATURES, widths=(160,), batch=2))
    assert "train data: 1 texts with fewer frames than tokens, which weigh nothing" in data.log_lines()
    assert "voices: one without a name" in data.log_lines()


def test_speakers_are_read_as_they_were_written(folder):
    assert read_speakers(voices(folder).artefacts()[SPEAKERS]) == ("a", "b")
    for text in ("[]", '{"a": 1}', "[1]"):
        with pytest.raises(BadInput, match=r"^speakers.json of the run is not a list of names: [^\n]+$"):
            read_speakers(text)


def test_a_vocoder_reads_no_texts(folder):
    data = voices(folder)
    raw = data.eval()[0]
    expected = data.prepare(raw)
    found = Sounds(speech=data.speech, centre=-3.0, spread=2.0).prepare(
        {name: raw[name] for name in ("audio", "samples")}
    )
    assert {*found} == {"audio", "samples", "mel", "frames"}
    assert all(np.array_equal(x, expected[name]) for name, x in found.items())


def test_a_vocoder_has_the_sizes_of_the_spectrogram(folder):
    assert Sounds(speech=voices(folder).speech).sizes() == {"bands": 4, "fft": 20}


def test_a_picture_has_low_frequencies_below_and_the_loudest_brightest():
    import io

    from PIL import Image

    bands = np.zeros((5, 3))
    bands[4, 0] = 1
    picture = np.asarray(Image.open(io.BytesIO(spectrogram_png(bands))))
    assert picture.shape == (3 * SCALE, 5 * SCALE, 3)
    assert picture[-1, -1].sum() > 600 > picture[0, 0].sum()
    assert (picture[:-SCALE] == picture[0, 0]).all()
