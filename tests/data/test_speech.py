"""Recordings as batches: every utterance once, as it was recorded; what cannot be is one line with its place."""

import dataclasses
import json

import jax
import numpy as np
import pytest
import soundfile
from refusals import refused

from jaxlm.data.audio import (
    Colour,
    Gain,
    LibriSpeech,
    LJSpeech,
    LogMel,
    Manifest,
    Shift,
    SpecAugment,
    Speed,
    SpokenDigits,
    Strings,
    WhiteNoise,
)
from jaxlm.data.audio.augment import standardise
from jaxlm.data.audio.sources import read_manifest
from jaxlm.data.audio.utterances import needed
from jaxlm.data.tokenizers.specs import Words

RATE = 8000
FEATURES = LogMel(rate=RATE, window=200, hop=80, bands=12)
TEXTS = ["one", "Two two", "three  four", "five", "six seven"]
SECONDS = [0.1, 0.35, 0.6, 0.2, 0.5]


def sound(seconds, rate=RATE, seed=0):
    return (0.2 * np.random.default_rng(seed).normal(size=int(seconds * rate))).clip(-0.9, 0.9)


def write(folder, texts=TEXTS, seconds=SECONDS, **fields):
    """A manifest of recordings, and its path."""
    lines = []
    for number, (text, length) in enumerate(zip(texts, seconds, strict=True)):
        soundfile.write(folder / f"{number}.wav", sound(length, seed=number), RATE)
        lines.append({"audio": f"{number}.wav", "text": text, **fields})
    (folder / "all.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return folder / "all.jsonl"


def spec_of(path, **options):
    options = {
        "batch": 2,
        "eval_batch": 3,
        "widths": (2400, 8000),
        "features": FEATURES,
        "tokenizer": Words(),
        **options,
    }
    return Manifest(train_file=str(path), eval_file=str(path), **options)


def test_every_utterance_comes_back_once_with_its_text(tmp_path):
    spec = spec_of(write(tmp_path))
    tokenizer = spec.build_tokenizer()
    for split in (spec.eval(), spec.train(seed=1)):
        found = {}
        for index in range(len(split)):
            batch = split[index]
            assert batch["audio"].shape[1] in spec.widths
            for row in np.flatnonzero(batch["mask"]):
                number, size, length = (int(batch[name][row]) for name in ("row", "samples", "target_lengths"))
                recorded = sound(SECONDS[number], seed=number)
                assert np.abs(batch["audio"][row, :size] / 32768 - recorded).max() < 2**-14
                assert not batch["audio"][row, size:].any()
                assert not batch["targets"][row, length:].any()
                found[number] = tokenizer.decode(batch["targets"][row, :length])
            assert not any(x[batch["mask"] == 0].any() for x in batch.values())
        assert found == dict(enumerate(["one", "two two", "three four", "five", "six seven"]))
    assert list(spec.references()) == ["one", "two two", "three four", "five", "six seven"]


def test_other_rates_and_channels_are_changed_and_counted(tmp_path):
    path = write(tmp_path)
    soundfile.write(tmp_path / "1.wav", np.stack([sound(0.35, 16000)] * 2, 1), 16000)
    soundfile.write(tmp_path / "3.wav", sound(0.2, 44100), 44100)
    lines = spec_of(path).log_lines()
    assert lines[0] == ("train data: 5 recordings, 1 seconds, 2 resampled to 8000 Hz, 1 mixed to one channel")
    assert spec_of(path).train()[0].keys() >= {"audio", "samples", "targets", "target_lengths", "row", "mask", "keys"}


def test_long_training_recordings_are_left_out_and_counted_and_an_evaluation_refuses_them(tmp_path):
    short, whole = tmp_path / "short", tmp_path / "whole"
    short.mkdir(), whole.mkdir()
    spec = dataclasses.replace(
        spec_of(write(whole), widths=(4000,)), eval_file=str(write(short, TEXTS[:1], SECONDS[:1]))
    )
    assert spec.log_lines()[0] == "train data: 4 recordings, 1 seconds, 1 left out for more than 4,000 samples"
    refused(spec_of(write(whole), widths=(4000,)).loaded, "all.jsonl line 3 has 4,800 samples", "data.widths is 4,000")


def test_targets_longer_than_the_audio_allows_are_named(tmp_path):
    spec = spec_of(write(tmp_path, ["a b c d e", "one", "a a"], [0.05, 0.2, 0.05]))
    lines = spec.too_short(lambda frames: -(-frames // 4))
    assert lines[0].startswith("train data: 2 targets longer than the audio allows, masked: ")
    assert "all.jsonl line 1, " in lines[0]
    assert lines[0].endswith("all.jsonl line 3")
    assert lines[1].startswith("eval data: 2 targets")
    assert spec.too_short(lambda frames: frames) == []
    assert [needed(np.array(x)) for x in ([], [1], [1, 1], [1, 2, 1], [1, 1, 1])] == [0, 1, 3, 3, 5]


def test_a_part_of_a_file_is_an_utterance(tmp_path):
    path = write(tmp_path)
    line = {"audio": str(tmp_path / "2.wav"), "text": "part", "start": 0.125, "end": 0.25, "speaker": "Ada"}
    path.write_text(json.dumps(line) + "\n")
    batch = spec_of(path, eval_batch=1).eval()[0]
    recorded = sound(0.6, seed=2)[1000:2000]
    assert np.abs(batch["audio"][0, :1000] / 32768 - recorded).max() < 2**-14
    assert batch["samples"].tolist() == [1000]


def test_a_speaker_that_is_null_is_unknown(tmp_path):
    path = tmp_path / "manifest.jsonl"
    lines = [{"audio": "a.wav", "text": "a", **more} for more in ({}, {"speaker": None}, {"speaker": 0})]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert [one.speaker for one in read_manifest(path)] == ["", "", "0"]


def test_what_cannot_be_read_is_named_with_its_line(tmp_path):
    path = write(tmp_path)
    lines = path.read_text().splitlines()
    for place, line, *patterns in (
        (1, '{"audio": "none.wav", "text": "x"}', "line 2: there is no file .*none.wav"),
        (2, '{"audio": "2.wav", "text": "  "}', "line 3: the text is empty"),
        (2, '{"audio": "2.wav"}', "line 3: no text 'text' there .it has audio"),
        (3, '{"audio": 3, "text": "x"}', "line 4: no text 'audio'"),
        (4, '{"audio": "2.wav", "text": "x", "start": 0.5, "end": 0.4}', "line 5: .*lasts 0.60 s", "from 0.5 to 0.4"),
        (4, '{"audio": "2.wav", "text": "x", "end": 9}', "line 5: .*lasts 0.60 s"),
        (4, '{"audio": "2.wav", "text": "x", "start": 0.603, "end": 0.608}', "line 5: .*lasts 0.60 s"),
        (4, '{"audio": "2.wav", "text": "x", "end": "9"}', "line 5: 'end' is '9': give seconds"),
        (0, "[1]", "line 1"),
    ):
        path.write_text("\n".join([*lines[:place], line, *lines[place + 1 :]]) + "\n")
        refused(spec_of(path).loaded, *patterns)
    path.write_text("\n".join(lines) + "\n")
    (tmp_path / "1.wav").write_bytes(b"noise")
    (tmp_path / "4.wav").write_bytes(b"")
    refused(spec_of(path).loaded, "line 2: .*1.wav is not a readable", "line 5: .*4.wav is not a readable")
    path.write_text("")
    refused(spec_of(path).loaded, "training split has no recordings")


def test_a_model_of_other_sizes_is_refused(tmp_path):
    from types import SimpleNamespace

    spec = spec_of(write(tmp_path))
    refused(lambda: spec.check(SimpleNamespace(vocab=3, bands=12)), "9 tokens and the model 3: set --model.vocab 9")
    refused(lambda: spec.check(SimpleNamespace(vocab=9, bands=80)), "bands is 12 and model.bands 80")
    spec.check(SimpleNamespace(vocab=20, bands=12))


def test_the_layouts_of_ljspeech_librispeech_and_spoken_digits(tmp_path):
    options = {"features": FEATURES, "batch": 1, "widths": (8000,)}
    lj, libri, digits = tmp_path / "lj", tmp_path / "libri", tmp_path / "digits"
    for folder in (lj / "wavs", libri / "train-clean-100" / "12" / "34", libri / "dev-clean" / "56" / "78", digits):
        folder.mkdir(parents=True)
    (lj / "metadata.csv").write_text('LJ-1|Dr. "A"|doctor a\nLJ-2|b|\nLJ-3|c|c\n')
    for name in ("LJ-1", "LJ-2", "LJ-3"):
        soundfile.write(lj / "wavs" / f"{name}.wav", sound(0.1), RATE)
    found = LJSpeech(folder=str(lj), held_out=1, **options)
    assert ([one.text for one in found.load()[0]], list(found.references())) == (["doctor a", "b"], ["c"])
    refused(LJSpeech(folder=str(lj), held_out=3, **options).loaded, "data.held_out is 3")

    for folder, name in ((libri / "train-clean-100/12/34", "12-34"), (libri / "dev-clean/56/78", "56-78")):
        (folder / f"{name}.trans.txt").write_text(f"{name}-0000 HE SAID\n{name}-0001 NO\n")
        for number in range(2):
            soundfile.write(folder / f"{name}-{number:04}.flac", sound(0.1), RATE)
    found = LibriSpeech(folder=str(libri), **options)
    assert [(one.text, one.speaker) for one in found.load()[0]] == [("HE SAID", "12"), ("NO", "12")]
    assert list(found.references()) == ["he said", "no"]
    refused(LibriSpeech(folder=str(lj), **options).loaded, "has no SPEAKER/CHAPTER")

    for name in ("0_ada_0", "0_ada_7", "3_bob_2", "9_bob_11"):
        soundfile.write(digits / f"{name}.wav", sound(0.1), RATE)
    own, other = (SpokenDigits(folder=str(digits), leave_out=out, **options) for out in (None, "ada"))
    assert [[one.text for one in split] for split in own.load()] == [["zero", "nine"], ["zero", "three"]]
    assert [[one.text for one in split] for split in other.load()] == [["three", "nine"], ["zero", "zero"]]
    refused(SpokenDigits(folder=str(digits), leave_out="eve", **options).loaded, "speakers are ada, bob")
    refused(SpokenDigits(folder=str(lj), **options).loaded, "DIGIT_SPEAKER_INDEX.wav")


def strings_of(folder, **fields):
    """Digits of two speakers as strings."""
    folder.mkdir(exist_ok=True)
    for number in range(10):
        for speaker in ("ada", "bob"):
            for index in (0, 7):
                tone = 0.2 if speaker == "ada" else -0.2  # tells who speaks
                soundfile.write(folder / f"{number}_{speaker}_{index}.wav", np.full(400 + 20 * number, tone), RATE)
    strings = Strings(**{"count": 6, "noise": None, "pause": (0.01, 0.05), **fields})
    return SpokenDigits(
        folder=str(folder), tokenizer=Words(), batch=4, widths=(8000,), features=FEATURES, strings=strings
    )


def test_a_string_is_the_recordings_of_one_speaker_with_pauses(tmp_path):
    spec = strings_of(tmp_path)
    tokenizer = spec.build_tokenizer()
    for batch in (spec.train(3)[0], spec.train(3)[7], spec.eval()[0]):
        for row in range(4):
            count = int(batch["target_lengths"][row])
            words = tokenizer.decode(batch["targets"][row, :count]).split()
            assert 3 <= count <= 7
            samples = batch["audio"][row, : batch["samples"][row]]
            edges = np.flatnonzero(np.diff((samples != 0).astype(int)))
            runs = [samples[a + 1 : b + 1] for a, b in zip(edges[::2], edges[1::2], strict=True)]
            assert [len(run) for run in runs] == [400 + 20 * names().index(word) for word in words]
            assert len({int(np.sign(value)) for run in runs for value in run}) == 1
            gaps = np.diff(np.concatenate([[-1], edges, [len(samples) - 1]]))[::2]
            assert gaps.min() >= 0.01 * RATE - 1
            assert gaps.max() <= 0.05 * RATE + 1
    assert [text.split() for text in spec.references()] == [
        tokenizer.decode(batch["targets"][row, : batch["target_lengths"][row]]).split()
        for batch in (spec.eval()[0], spec.eval()[1])
        for row in np.flatnonzero(batch["mask"])
    ]


def names():
    from jaxlm.data.audio.sources import DIGITS

    return list(DIGITS)


def test_strings_are_functions_of_seed_epoch_and_row(tmp_path):
    spec = strings_of(tmp_path, noise=(10.0, 20.0))
    one, again, other = spec.train(3), spec.train(3), spec.train(4)
    assert np.array_equal(one[5]["audio"], again[5]["audio"])
    assert not np.array_equal(one[5]["audio"], other[5]["audio"])
    whole, parts = spec.train(3)[0], [spec.train(3).shard(index, 2)[0] for index in range(2)]
    for index, part in enumerate(parts):
        assert np.array_equal(part["audio"], whole["audio"][index::2])


def test_noise_has_the_ratio_that_is_asked_for(tmp_path):
    clean, noisy = (strings_of(tmp_path, noise=noise) for noise in (None, (10.0, 10.0)))
    for one, other in zip(clean.eval()[0]["audio"], noisy.eval()[0]["audio"], strict=True):
        speech, noise = one[one != 0].astype(float), (other.astype(float) - one)[: np.flatnonzero(other)[-1] + 1]
        ratio = 10 * np.log10(np.square(speech).mean() / np.square(noise).mean())
        assert ratio == pytest.approx(10, abs=0.5)
        assert abs(noise.mean()) < 0.1 * noise.std()


def test_strings_that_cannot_be_are_refused(tmp_path):
    for fields in ({"least": 0}, {"least": 8}, {"pause": (0.2, 0.1)}, {"noise": (9.0, 1.0)}, {"count": 0}):
        refused(lambda fields=fields: Strings(**fields), "Strings")
    spec = strings_of(tmp_path)
    refused(dataclasses.replace(spec, widths=(400, 8000)).train, "strings need one width")
    refused(dataclasses.replace(spec, widths=(600,)).train, "at least 1,381 samples")


def batch_of(rows=3, width=1600, seed=0):
    draw = np.random.default_rng(seed)
    samples = np.array([1600, 700, 1100][:rows], np.int32)
    audio = (draw.normal(size=(rows, width)) * 4000).astype(np.int16)
    audio[np.arange(width) >= samples[:, None]] = 0
    return {"audio": audio, "samples": samples, "keys": draw.integers(0, 2**32, (rows, 2), np.uint32)}


OPERATIONS = [Gain(), Colour(), WhiteNoise(), Speed((0.5, 2.0)), Shift(0.05)]


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda one: type(one).__name__)
def test_an_operation_is_each_rows_own_and_leaves_padding_zero(tmp_path, operation):
    spec = dataclasses.replace(spec_of(tmp_path / "none"), augment=(operation,), spec_augment=SpecAugment(2, 4, 2, 9))
    augmented, batch = jax.jit(spec.augmented), batch_of()
    whole = augmented(batch)
    alone = augmented({name: x[1:2] for name, x in batch.items()})
    np.testing.assert_allclose(alone["features"][0], whole["features"][1], rtol=1e-3, atol=1e-3)
    assert alone["frames"][0] == whole["frames"][1]
    inside = np.arange(whole["features"].shape[1]) < np.asarray(whole["frames"])[:, None]
    assert not np.asarray(whole["features"])[~inside].any()
    other = augmented({**batch, "keys": batch["keys"] + 1})
    assert not np.allclose(other["features"], whole["features"])


def operated(operation, batch):
    from jaxlm.data.audio.augment import apply_waves

    found = apply_waves((operation,), batch, RATE)
    return np.asarray(found["audio"]), np.asarray(found["samples"])


def test_what_the_operations_do():
    batch = batch_of()
    plain, sizes = batch["audio"] / 32768, batch["samples"]
    louder, _ = operated(Gain((6.0, 6.0)), batch)
    np.testing.assert_allclose(louder, plain * 10**0.3, rtol=1e-5)
    noisy, _ = operated(WhiteNoise((10.0, 10.0)), batch)
    for row, size in enumerate(sizes):
        ratio = np.square(plain[row]).sum() / np.square(noisy[row] - plain[row])[:size].sum()
        assert 10 * np.log10(ratio) == pytest.approx(10, abs=0.6)
    other, _ = operated(Colour(taps=3, strength=2.0), batch)
    for row, size in enumerate(sizes):
        delayed = np.stack([np.pad(plain[row], (n, 0))[:size] for n in range(4)], 1)
        weights, error, *_ = np.linalg.lstsq(delayed, other[row, :size], rcond=None)
        assert error.sum() < 1e-6
        assert np.square(weights).sum() == pytest.approx(1, abs=1e-3)
        assert np.abs(weights[1:]).max() > 0.01
    fast, short = operated(Speed((2.0, 2.0)), batch)
    assert short.tolist() == [800, 350, 550]
    np.testing.assert_allclose(fast[0, :800], plain[0, ::2], atol=1e-5)
    _, slow = operated(Speed((0.5, 0.5)), batch)
    assert slow.tolist() == [1600, 1400, 1600]  # as slow as fits
    shifted, longer = operated(Shift(0.05), batch)
    assert longer[0] == 1600
    for row in range(3):
        moved = longer[row] - sizes[row]
        assert 0 <= moved <= 400
        np.testing.assert_array_equal(shifted[row, moved : longer[row]], plain[row, : sizes[row]].astype(np.float32))


def test_bands_and_stretches_are_hidden_within_the_recording():
    rows, frames, bands = 200, 50, 20
    lengths = np.random.default_rng(0).integers(5, frames + 1, rows).astype(np.int32)
    keys = np.random.default_rng(1).integers(0, 2**32, (rows, 2), np.uint32)
    batch = {"features": np.ones((rows, frames, bands), np.float32), "frames": lengths, "keys": keys}

    def hidden(**fields):
        nothing = {"bands": 0, "stretches": 0, **fields}
        return np.asarray(SpecAugment(**nothing)(batch)["features"]) == 0

    found = hidden(bands=1, band=6)
    assert (found == found[:, :1]).all()  # whole bands
    widths = found[:, 0].sum(1)
    assert set(widths.tolist()) == set(range(7))
    assert (np.diff(np.pad(found[:, 0], ((0, 0), (1, 1))).astype(int), axis=1) > 0).sum(1).max() == 1
    assert found[:, 0].any(0).all()  # every band is hidden at times
    found = hidden(stretches=1, stretch=8, share=0.5)
    assert (found == found[:, :, :1]).all()  # whole frames
    widths = found[..., 0].sum(1)
    assert (widths <= np.minimum(8, lengths // 2)).all()
    assert widths.max() == 8
    assert not found[..., 0][np.arange(frames) >= lengths[:, None]].any()
    assert not hidden().any()


def test_features_are_standardised_over_the_recording_alone():
    draw = np.random.default_rng(0)
    features, frames = draw.normal(size=(3, 20, 6)).astype(np.float32) * 3 + 2, np.array([20, 7, 0])
    found = np.asarray(standardise(features, frames))
    for row, count in enumerate(frames):
        assert not found[row, count:].any()
        if count:
            assert abs(found[row, :count].mean()) < 1e-4
            assert found[row, :count].std() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Gain((3.0, 1.0)),
        lambda: WhiteNoise((3.0, 1.0)),
        lambda: Speed((0.0, 1.0)),
        lambda: Colour(taps=0),
        lambda: Shift(-1.0),
        lambda: SpecAugment(bands=-1),
        lambda: SpecAugment(share=2.0),
    ],
)
def test_an_operation_that_cannot_be_is_refused(make):
    refused(make, "give|share is from 0 to 1")
