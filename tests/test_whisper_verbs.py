"""A folder with a Whisper becomes a run, which transcribes files and becomes such a folder again."""

import json
import sys

import numpy as np
import pytest

from jaxlm import cli
from jaxlm.data.audio.files import write_wav
from jaxlm.hub.tensors import Tensors
from jaxlm.runs.directory import RunDirectory
from jaxlm.runs.weights import read_leaves
from jaxlm.train.config import load_config
from tiny_whisper import BEGIN, GENERATION, HEADS, MODEL, SUPPRESSED, write_folder
from whole_path import ROOT

WORDS = "--data.batch 1 --data.eval-batch 1 --decode.length 8 --decode.beams 2".split()
TASK = ("--config", ROOT / "configs" / "whisper_folder.py")
TASK += ("--experiment", ROOT / "experiments" / "speech_to_text.py")


def command(*words):
    """Run a command line in this process and return its exit code."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(sys, "argv", ["jaxlm", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
    return stop.value.code


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    """A folder, the leaves in it, and the run that was made of it without recordings."""
    home = tmp_path_factory.mktemp("hub")
    leaves = write_folder(home / "theirs")
    write_wav(home / "speech.wav", 0.3 * np.random.default_rng(0).normal(size=18000), 8000)  # more than two windows
    assert command("import", home / "theirs", *TASK, "--directory", home / "run", *WORDS) == 0
    return home, leaves


def test_the_run_has_the_model_its_weights_and_what_the_folder_says(imported):
    home, leaves = imported
    config = RunDirectory(home / "run").config()
    assert config.model == MODEL.clone(decoder_depth=1)
    assert config.decode.suppressed == tuple(SUPPRESSED)
    assert config.decode.begin_suppressed == tuple(BEGIN)
    assert config.decode.heads == tuple(map(tuple, HEADS))
    assert config.data.widths == (16000,)
    assert load_config(home / "run" / "fine_tune.py") == config
    found = read_leaves(str(home / "run"), 0)
    assert found.keys() == leaves.keys()
    for path, leaf in leaves.items():
        np.testing.assert_array_equal(found[path], leaf, err_msg=path)


def test_the_run_transcribes_a_file_with_the_times_of_words(imported, capsys):
    home, _ = imported
    capsys.readouterr()
    assert command("predict", home / "run", home / "speech.wav", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["language"] in ("en", "de")
    assert isinstance(answer["text"], str)
    for word in answer["words"]:
        assert 0 <= word["start"] <= word["end"] <= 2.25
    assert command("predict", home / "run", home / "none.wav") == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_out_again_is_what_came_in(imported, tmp_path):
    home, _ = imported
    assert command("export", home / "run", "--to", "hf", tmp_path / "out") == 0
    before, after = Tensors(home / "theirs"), Tensors(tmp_path / "out")
    assert set(before) == set(after)
    for name in after:
        np.testing.assert_array_equal(after[name], before[name], err_msg=name)
    written = json.loads((tmp_path / "out" / "generation_config.json").read_text())
    assert written == {name: x for name, x in GENERATION.items() if name != "prev_sot_token_id"}
    extractor = json.loads((tmp_path / "out" / "preprocessor_config.json").read_text())
    assert (extractor["feature_size"], extractor["chunk_length"], extractor["hop_length"]) == (8, 1, 160)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("generation_config.json", "[]", "is not a JSON object"),
        ("generation_config.json", '{"suppress_tokens": [-1]}', "has another form than transformers writes"),
        ("generation_config.json", '{"alignment_heads": [[1]]}', "has another form than transformers writes"),
        ("preprocessor_config.json", '{"hop_length": 0}', "has another form than transformers writes"),
        ("preprocessor_config.json", '{"hop_length": 500}', "a spectrogram needs 1 <= hop"),
    ],
)
def test_a_folder_that_cannot_be_read_is_told_in_one_line(file, content, message, tmp_path, capsys):
    write_folder(tmp_path / "theirs")
    (tmp_path / "theirs" / file).write_text(content)
    assert command("import", tmp_path / "theirs", *TASK, "--directory", tmp_path / "run", *WORDS) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_transformers_transcribes_with_what_was_exported(imported, tmp_path):
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    home, _ = imported
    assert command("export", home / "run", "--to", "hf", tmp_path / "out") == 0
    audio = 0.3 * np.random.default_rng(0).normal(size=9000).astype(np.float32)
    found = []
    for folder in (home / "theirs", tmp_path / "out"):
        extractor = transformers.WhisperFeatureExtractor.from_pretrained(tmp_path / "out")
        features = extractor(audio, sampling_rate=16000, return_tensors="pt").input_features
        model = transformers.WhisperForConditionalGeneration.from_pretrained(folder).eval()
        found.append(model.generate(features, language="en", task="transcribe", max_new_tokens=8))
    assert torch.equal(*found)
