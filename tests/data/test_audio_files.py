"""Sound files come back as they were written, at any rate and in any format; what cannot be read is one line."""

import io
import sys
import tracemalloc

import numpy as np
import pytest
import soundfile
from refusals import refused

from jaxlm.data.audio import files
from jaxlm.data.audio.files import read_audio, read_sound, resample, write_wav


def tone(seconds=0.5, rate=8000, hertz=440.0):
    return (0.4 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def encoded(samples, rate=8000, format="WAV", subtype=None):
    content = io.BytesIO()
    soundfile.write(content, samples, rate, format=format, subtype=subtype)
    return content.getvalue()


def pitch(samples, rate):
    """The strongest frequency."""
    power = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return power.argmax() * rate / len(samples)


@pytest.mark.parametrize(
    ("format", "subtype", "error"),
    [
        ("WAV", "PCM_16", 1e-4),
        ("WAV", "FLOAT", 0.0),
        ("FLAC", "PCM_16", 1e-4),
        ("OGG", "VORBIS", 0.1),
        ("MP3", None, 0.2),
    ],
)
def test_every_format_gives_the_samples_from_a_file_and_from_bytes(tmp_path, format, subtype, error):
    samples = tone(2.0)
    content = encoded(samples, 8000, format, subtype)
    (path := tmp_path / f"a.{format.lower()}").write_bytes(content)
    found = read_audio(content, 8000)
    assert found.dtype == np.float32
    assert len(found) == len(samples)
    assert np.abs(found - samples)[500:-500].max() <= error
    assert np.array_equal(found, read_audio(path, 8000))


@pytest.mark.parametrize(("rate", "new"), [(8000, 16000), (44100, 16000), (16000, 8000), (48000, 22050)])
def test_another_rate_keeps_pitch_duration_and_loudness(rate, new):
    samples = tone(1.0, rate)
    found = resample(samples, rate, new)
    assert len(found) == new
    assert pitch(found, new) == pytest.approx(440, abs=1.5)
    assert np.abs(found - tone(1.0, new))[new // 20 : -new // 20].max() < 1e-3


def test_resampling_removes_what_the_new_rate_cannot_hold():
    assert np.abs(resample(tone(1.0, 16000, 6000.0), 16000, 8000)[400:-400]).max() < 1e-3


def test_channels_become_their_mean():
    both = np.stack([tone(), -0.5 * tone()], 1)
    assert np.abs(read_audio(encoded(both, subtype="FLOAT"), 8000) - 0.25 * tone()).max() < 1e-6


def test_one_sample_stays_one():
    assert len(read_audio(encoded(np.float32([0.5])), 16000)) == 2
    assert len(read_audio(encoded(np.float32([0.5]), 44100), 8000)) == 1


def test_a_file_is_written_whole_and_clipping_is_counted(tmp_path):
    samples = np.array([0.0, 0.5, -1.0, 1.5, -2.0])
    assert write_wav(tmp_path / "a.wav", samples, 8000) == 2
    sound = read_sound(tmp_path / "a.wav")
    assert sound.rate == 8000
    assert np.abs(sound.samples[:, 0] - np.clip(samples, -1, 1)).max() <= 2**-15
    assert [file.name for file in tmp_path.iterdir()] == ["a.wav"]
    assert write_wav(tmp_path / "a.wav", read_audio(tmp_path / "a.wav", 8000), 8000) == 0
    assert np.array_equal(read_sound(tmp_path / "a.wav").samples, sound.samples)


def test_what_cannot_be_read_is_one_line_with_its_name(tmp_path):
    for name, content, *patterns in (
        ("empty.wav", b"", "not a readable sound"),
        ("text.wav", b"words " * 99, "not a readable sound"),
        ("cut.flac", encoded(tone(), 8000, "FLAC")[:3000], "not a readable sound"),
        ("cut.mp3", encoded(tone(2.0), 8000, "MP3")[:3000], "ends after"),
        ("silent.wav", encoded(np.zeros(0, np.float32)), "no samples"),
        ("nan.wav", encoded(np.float32([0, np.nan, 0]), subtype="FLOAT"), "sample 1 ", "not a finite"),
    ):
        (tmp_path / name).write_bytes(content)
        refused(lambda name=name: read_audio(tmp_path / name, 8000), name, *patterns)
    refused(lambda: read_audio(b"", 8000), "the sound is not a readable")
    refused(lambda: read_audio(tmp_path / "none.wav", 8000), "no file .*none.wav")
    refused(lambda: read_audio(tmp_path, 8000), "cannot be read")


def test_decoding_ends_at_a_limit_of_samples_whatever_the_header_says(monkeypatch):
    monkeypatch.setattr(files, "MAX_SAMPLES", 10_000)
    monkeypatch.setattr(files, "BLOCK", 1000)
    assert len(read_audio(encoded(np.zeros(10_000, np.float32)), 8000)) == 10_000
    for shape in ((10_001,), (5001, 2), (1251, 8)):
        refused(lambda shape=shape: read_sound(encoded(np.zeros(shape), format="FLAC")), "more than 10,000 samples")
    refused(lambda: read_audio(encoded(np.zeros(100, np.float32), 1), 8000), "100 samples at 1 Hz are 800,000 at 8000")


def test_silence_that_packs_well_is_not_decoded_whole(monkeypatch):
    monkeypatch.setattr(files, "MAX_SAMPLES", 1_000_000)
    content = encoded(np.zeros(20_000_000, np.int16), 48_000, "FLAC")
    assert len(content) < 100_000
    tracemalloc.start()
    refused(lambda: read_audio(content, 16_000), "the sound holds more than 1,000,000 samples", "shorter parts")
    assert tracemalloc.get_traced_memory()[1] < 12_000_000
    tracemalloc.stop()


def test_what_cannot_be_written_is_one_line(tmp_path):
    refused(lambda: write_wav(tmp_path / "a.wav", np.array([np.nan]), 8000), "a.wav", "not finite")
    refused(lambda: write_wav(tmp_path / "a.wav", np.array([]), 8000), "no samples")
    refused(lambda: write_wav(tmp_path / "none" / "a.wav", tone(), 8000), "cannot be written", "make its folder")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("library", ["soundfile", "soxr"])
def test_a_missing_library_is_one_line(monkeypatch, library):
    monkeypatch.setitem(sys.modules, library, None)
    refused(lambda: read_audio(encoded(tone()), 16000), library, r"pip install \"jaxlm\[speech\]\"")


def test_a_real_utterance_is_read(real_data):
    sound = read_sound(real_data / "jfk.flac")
    assert sound.rate == 44100
    assert len(read_audio(real_data / "jfk.flac", 16000)) == 176000
