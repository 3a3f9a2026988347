"""The score of a voice counts what a recogniser gets wrong, and its copies go through the vocoder."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np

from jaxlm.data.audio.spectrogram import LogMel

SCRIPTS = Path(__file__).parents[2] / "scripts"


def test_errors_are_counted_and_split_by_voice(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS)
    import score_synthesis

    found = score_synthesis.line("made", ["one", "two ", "", "nine"], ["one", "two", "six", "five"], list("abab"))
    assert found == "made: 2 of 4 wrong, 50.00% (a 50.0%, b 50.0%)"


def test_recordings_are_copied_as_texts_are_spoken(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS)
    import score_synthesis

    features = LogMel(rate=800, window=20, hop=8, bands=4)
    rows = SimpleNamespace(samples=[np.int16([16384] * 80)], texts=["a", "b"], numbers=np.array([1]), speakers=["ann"])
    speech = SimpleNamespace(loaded=lambda: SimpleNamespace(eval=SimpleNamespace(rows=rows)))
    data = SimpleNamespace(speech=speech, features=features, normalised=lambda mel: (mel + 3) / 2)
    real, copies, said, voices = score_synthesis.recordings(
        data, lambda outputs, voice: {"samples": outputs[0]["mel"][: outputs[0]["frames"], 0].tolist()}
    )
    np.testing.assert_array_equal(real[0], np.full(80, 0.5, np.float32))
    np.testing.assert_allclose(copies[0], (np.asarray(features(real[0][None]))[0, :, 0] + 3) / 2, rtol=1e-5)
    assert (said, voices) == (["b"], ["ann"])


def test_a_recogniser_hears_sound_at_its_own_rate(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS)
    import score_synthesis

    sound = np.zeros(800, np.float32)
    assert score_synthesis.listen(lambda given: [{"text": str(len(x))} for x in given], [sound], 800, 1600) == ["1600"]
