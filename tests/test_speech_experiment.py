"""Recognising speech as a whole run: every placement and micro-batch trains the same, and files get their answers."""

import json

import numpy as np
import pytest
import soundfile

from jaxlm import cli
from shrunk_sound import speech_words
from whole_path import ROOT, losses, run_main

pytestmark = pytest.mark.slow
CONFIG = ROOT / "configs" / "ctc_spoken_digits.py"
STILL = (
    "--model.dropout 0 --model.encoder.dropout 0 --run.steps 10 --run.save-every 10 --decode.beams 4 --decode.order 2"
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run in one process, and the words that make it."""
    folder = tmp_path_factory.mktemp("speech")
    soundfile.write(folder / "1_c_9.wav", np.zeros(9000) + 0.1, 8000)
    words = [*speech_words("ctc_spoken_digits", folder), *STILL.split()]
    with pytest.MonkeyPatch.context() as monkeypatch:
        run_main(monkeypatch, "speech_recognition.py", CONFIG, *words, "--run.directory", str(folder / "run"))
    return folder, words


@pytest.mark.parametrize("more", ["--place.kind mesh", "--place.kind pmap", "--run.accumulate 2"])
def test_every_placement_and_micro_batch_trains_to_the_same_losses(trained, more, tmp_path, monkeypatch):
    folder, words = trained
    run_main(monkeypatch, "speech_recognition.py", CONFIG, *words, *more.split(), "--run.directory", str(tmp_path))
    np.testing.assert_allclose(losses(tmp_path), losses(folder / "run"), rtol=1e-4)
    assert scores(tmp_path) == pytest.approx(scores(folder / "run"), abs=0.05)


def scores(directory):
    """The word error rates that a run recorded."""
    lines = map(json.loads, (directory / "metrics.jsonl").read_text().splitlines())
    return [line["speech/wer"] for line in lines if "speech/wer" in line]


def test_files_are_answered_with_the_times_of_their_words(trained, monkeypatch, capsys):
    folder, _ = trained
    files = [str(folder / name) for name in ("3_george_1.wav", "5_theo_2.wav")]
    for words in (["--json"], []):
        monkeypatch.setattr("sys.argv", ["jaxlm", "predict", str(folder / "run"), *files, *words])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        assert not stop.value.code
    told = capsys.readouterr().out.splitlines()
    for line, shown, file in zip(told[:2], told[2:], files, strict=True):
        answer = json.loads(line)
        assert answer["text"] == " ".join(word["word"] for word in answer["words"])
        assert shown == f"{file:{max(map(len, files))}}  {answer['text']}"


def test_what_was_left_out_is_said_at_the_start(trained, tmp_path, monkeypatch, capsys):
    _, words = trained
    run_main(monkeypatch, "speech_recognition.py", CONFIG, *words, "--run.directory", str(tmp_path))
    told = capsys.readouterr().out
    assert (
        "train data: 100 recordings, 19 seconds, 50 resampled to 8000 Hz, 1 left out for more than 2,400 samples"
        in told
    )
