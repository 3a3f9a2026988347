"""Recordings as windows of one length: features, targets behind a prompt, and what does not fit a model."""

import json

import numpy as np
import pytest
from refusals import refused

from jaxlm.data.audio.files import write_wav
from jaxlm.data.audio.spectrogram import LogMel
from jaxlm.data.audio.windowed import SpokenText, window_features, with_prompt
from jaxlm.data.tokenizers.specs import Pretrained
from tiny_whisper import MODEL, write_tokenizer

MEL = LogMel(bands=8, ends="reflect")


@pytest.fixture
def data(tmp_path):
    """Two recordings at another rate, with their manifest."""
    write_tokenizer(tmp_path)
    lines = []
    for name, text in (("a", "Hello there"), ("b", " one ")):
        write_wav(tmp_path / f"{name}.wav", 0.3 * np.random.default_rng(0).normal(size=4000), 8000)
        lines.append(json.dumps({"audio": f"{name}.wav", "text": text}))
    path = tmp_path / "list.jsonl"
    path.write_text("\n".join(lines))
    tokenizer = Pretrained(str(tmp_path))
    return SpokenText(
        train_file=str(path), eval_file=str(path), widths=(16000,), features=MEL, tokenizer=tokenizer, batch=2
    )


def test_features_are_the_logarithms_near_the_loudest_of_the_window():
    audio = 0.1 * np.random.default_rng(0).normal(size=(2, 9000)).astype(np.float32)
    found = np.asarray(window_features(MEL, audio, 16000))
    assert found.shape == (2, 100, 8)
    log10 = np.asarray(MEL(np.pad(audio, ((0, 0), (0, 7000)))))[:, :100] / np.log(10)
    np.testing.assert_allclose(found, (np.maximum(log10, log10.max((1, 2), keepdims=True) - 8) + 4) / 4, atol=1e-5)
    longer = np.concatenate([audio, np.zeros((2, 7000), np.float32), audio], 1)
    np.testing.assert_array_equal(window_features(MEL, longer, 16000), found)


def test_a_batch_has_sound_without_padding_and_targets_behind_the_prompt(data):
    batch = data.prepare(data.eval()[0])
    assert batch["features"].shape == (2, 100, 8)
    found = with_prompt(batch, (300, 301, 302), 299)
    tokenizer = data.build_tokenizer()
    for row, text in enumerate((" Hello there", " one")):
        tokens = [301, 302, *tokenizer.encode(text), 299]
        assert found["targets"][row, : len(tokens)].tolist() == tokens
        np.testing.assert_array_equal(found["target_segments"][row], np.arange(found["targets"].shape[1]) < len(tokens))
    assert [text.strip() for text in data.references()] == ["Hello there", "one"]


def test_a_row_of_padding_has_no_target(data):
    batch = data.prepare(data.eval()[0]) | {"mask": np.array([1.0, 0.0], np.float32)}
    assert not with_prompt(batch, (300, 301), 299)["target_segments"][1].any()


def test_without_recordings_there_is_a_second_of_silence(data):
    silence = SpokenText(widths=(16000,), features=MEL, tokenizer=data.tokenizer, batch=1)
    silence.check(MODEL)
    assert len(silence.eval()) == 1
    assert not silence.eval()[0]["audio"].any()
    assert "0 recordings" in silence.log_lines()[0]


def test_what_does_not_fit_a_model_is_named(data, tmp_path):
    data.check(MODEL)
    refused(
        lambda: data.check(MODEL.clone(source_context=60)), "reads windows of 19200 samples: set --data.widths 19200"
    )
    refused(lambda: data.check(MODEL.clone(bands=9)), "bands")
    refused(lambda: data.check(MODEL.clone(context=12)), "list.jsonl line 1: the text has 12 tokens, and the model's")
    refused(lambda: SpokenText(train_file="x").loaded(), "one of data.train_file and data.eval_file is None")
