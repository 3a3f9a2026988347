"""Recordings of one voice through two microphones are alike once they are equalised."""

import sys

import numpy as np
import pytest

from jaxlm.data.audio.files import read_audio, write_wav
from jaxlm.runs.load import load_module
from whole_path import ROOT

equal = load_module(ROOT / "scripts" / "equalise_recordings.py")


def record(folder, seed=0, count=8):
    """Write noise in bursts as recordings of "anna", and the same through another microphone as those of "ben"."""
    draw = np.random.default_rng(seed)
    for number in range(count):
        sound = 0.1 * draw.standard_normal(4000) * (np.sin(np.arange(4000) / 300) > 0)
        coloured = np.convolve(sound, [1.0, -0.8])[:4000]
        for name, samples in (("anna", sound), ("ben", 0.1 * coloured)):
            write_wav(folder / f"{number % 10}_{name}_{number}.wav", samples.astype(np.float32), 8000)


def run(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["equalise_recordings.py", *map(str, words)])
    equal.main()


def test_two_microphones_become_one(tmp_path, monkeypatch, capsys):
    (tmp_path / "in").mkdir()
    record(tmp_path / "in")
    run(monkeypatch, tmp_path / "in", tmp_path / "out", "--speaker", r"\d_(\w+)_\d+")
    assert "16 recordings of anna, ben" in capsys.readouterr().out
    decibels = {}
    for place in ("in", "out"):
        rows = [
            [read_audio(path, 8000) for path in sorted((tmp_path / place).glob(f"*_{name}_*"))]
            for name in ("anna", "ben")
        ]
        spectra = [equal.average_spectrum([x / np.abs(x).max() for x in some]) for some in rows]
        decibels[place] = np.abs(np.diff(spectra, axis=0)).max() * 10 / np.log(10)
    assert decibels["in"] > 15
    assert decibels["out"] < 2.5


def test_a_filter_of_gain_one_is_the_recording(tmp_path):
    x = np.random.default_rng(1).standard_normal(1001)
    np.testing.assert_allclose(equal.filtered(x, np.zeros(129)), x, atol=1e-12)


@pytest.mark.parametrize(("pattern", "message"), [(r"\d_(\w+", "regular"), (r"\w+", "group"), ("(x)", "no file")])
def test_bad_patterns_are_one_line(tmp_path, monkeypatch, capsys, pattern, message):
    record(tmp_path, count=1)
    with pytest.raises(SystemExit) as stop:
        run(monkeypatch, tmp_path, tmp_path / "out", "--speaker", pattern)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
