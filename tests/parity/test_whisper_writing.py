"""What Whisper writes, against transformers: features, greedy answers, chosen languages, warped paths."""

import numpy as np
import pytest

from jaxlm.data.audio.spectrogram import LogMel
from jaxlm.data.audio.windowed import window_features
from jaxlm.data.tokenizers.files import read_tokenizer
from jaxlm.decode.alignment import warped_path
from jaxlm.decode.speech.transcription import Transcription
from jaxlm.hub import pretrained
from jaxlm.hub.whisper import generation_options
from parity.parity_helpers import torch, transformers
from tiny_whisper import IDS, MODEL, write_folder

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("bands", [80, 128])
@pytest.mark.parametrize("seconds", [1.3, 30.0, 31.0])
def test_features_are_those_of_their_extractor(bands, seconds):
    time = np.arange(int(seconds * 16000)) / 16000
    audio = 0.4 * np.sin(2 * np.pi * (150 + 40 * time) * time)
    audio = (audio + 0.01 * np.random.default_rng(0).normal(size=len(time))).astype(np.float32)
    theirs = transformers.WhisperFeatureExtractor(feature_size=bands)(audio, sampling_rate=16000, return_tensors="np")
    ours = window_features(LogMel(bands=bands, ends="reflect"), audio[None], 480000)
    assert ours.shape == (1, 3000, bands)
    np.testing.assert_allclose(ours[0], theirs["input_features"][0].T, atol=1e-4)


@pytest.fixture(scope="module", params=[0, 1, 2])
def folder(request, tmp_path_factory):
    home = tmp_path_factory.mktemp("hub") / "theirs"
    write_folder(home, seed=request.param)
    return home


def sound():
    return np.random.default_rng(0).normal(size=(4, 100, MODEL.bands)).astype(np.float32)


@pytest.mark.parametrize(("language", "beams"), [("de", 1), (None, 1), ("en", 3)])
def test_what_is_written_is_what_theirs_generates(folder, language, beams):
    model, leaves = pretrained.load_pretrained(folder)
    variables = pretrained.tree_from_leaves(leaves)
    search = Transcription(language, length=20, beams=beams, **generation_options(folder))
    prompt = search.prompt(model, read_tokenizer(folder, None))
    found = search(model, variables, sound(), prompt)
    rows = zip(np.asarray(found["tokens"]), np.asarray(found["lengths"]), strict=True)
    ours = [row[:length].tolist() for row, length in rows]

    theirs = transformers.WhisperForConditionalGeneration.from_pretrained(folder).eval()
    given = torch.from_numpy(sound()).transpose(1, 2)
    options = {"language": language, "task": "transcribe", "max_new_tokens": 20, "num_beams": beams, "do_sample": False}
    written = theirs.generate(given, **options, return_dict_in_generate=True, return_timestamps=False)["sequences"]
    end = IDS["<|endoftext|>"]
    rows = [row[4:] if row[0] == prompt.tokens[0] else row for row in written.tolist()]
    expected = [row[: row.index(end)] if end in row else row for row in rows]
    if beams == 1:
        assert ours == expected
        if language is None:
            assert [int(n) for n in found["language"]] == theirs.detect_language(given).tolist()
    else:  # theirs does not divide the probability of what is suppressed among the rest
        assert sum(a == b for a, b in zip(ours, expected, strict=True)) >= 2


def test_paths_are_theirs():
    from transformers.models.whisper.generation_whisper import _dynamic_time_warping

    for seed in range(20):
        gain = np.random.default_rng(seed).normal(size=(9, 31))
        tokens, places = _dynamic_time_warping(-gain)
        firsts = [int(places[tokens == token].min()) for token in range(9)]
        assert warped_path(gain).tolist() == firsts
