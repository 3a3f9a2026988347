"""Fine-tuning Whisper as a whole run: every placement and micro-batch trains the same."""

import json

import numpy as np
import pytest

from shrunk_sound import transcribed_words
from whole_path import ROOT, losses, run_fails_with, run_main

pytestmark = pytest.mark.slow
CONFIG = ROOT / "configs" / "whisper_folder.py"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run in one process, and the words that make it."""
    folder = tmp_path_factory.mktemp("speech")
    words = [*transcribed_words("whisper_folder", folder), *"--run.steps 5 --run.save-every 5 --decode.beams 1".split()]
    with pytest.MonkeyPatch.context() as monkeypatch:
        run_main(monkeypatch, "speech_to_text.py", CONFIG, *words, "--run.directory", str(folder / "run"))
    return folder, words


@pytest.mark.parametrize("more", ["--place.kind mesh", "--place.kind pmap", "--run.accumulate 2"])
def test_every_placement_and_micro_batch_trains_to_the_same_losses(trained, more, tmp_path, monkeypatch):
    folder, words = trained
    run_main(monkeypatch, "speech_to_text.py", CONFIG, *words, *more.split(), "--run.directory", str(tmp_path))
    np.testing.assert_allclose(losses(tmp_path), losses(folder / "run"), rtol=1e-4)
    assert scores(tmp_path) == scores(folder / "run")


def scores(directory):
    """The word error rates that a run recorded."""
    lines = map(json.loads, (directory / "metrics.jsonl").read_text().splitlines())
    return [line["speech/wer"] for line in lines if "speech/wer" in line]


def test_recordings_of_a_language_that_is_not_named_are_refused(trained, tmp_path, monkeypatch, capsys):
    words = [*trained[1], "--decode.language", "None", "--run.directory", str(tmp_path / "run")]
    error = run_fails_with(monkeypatch, capsys, "speech_to_text.py", CONFIG, *words)
    assert "decode.language is None: set it to the language of the recordings" in error
    assert not (tmp_path / "run").exists()
