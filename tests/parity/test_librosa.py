"""Spectrograms against librosa."""

import numpy as np
import pytest

from jaxlm.data.audio.spectrogram import LogMel, Stft, mel_filters

pytestmark = pytest.mark.slow
librosa = pytest.importorskip("librosa")

SPECS = [
    LogMel(),
    LogMel(bands=128, ends="reflect"),
    LogMel(8000, 200, 80, 40, 256, low=20.0, scale="htk"),
    LogMel(22050, 1024, 256, 80, high=8000.0, power=1.0, floor=1e-5, ends="reflect"),
]


def sound(count):
    """A sweep with silence and noise, from -1 to 1."""
    time = np.arange(count) / 16000
    samples = 0.5 * np.sin(2 * np.pi * (200 * time + 1500 * time**2)) + 0.01 * np.random.default_rng(0).normal(
        size=count
    )
    samples[count // 3 : count // 2] = 0
    return samples.astype(np.float32)


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("count", [16000, 7001])
def test_log10_mel_is_that_of_librosa(spec, count):
    samples = sound(count)
    mel = librosa.feature.melspectrogram(
        y=samples,
        sr=spec.rate,
        n_fft=spec.fft or spec.window,
        hop_length=spec.hop,
        win_length=spec.window,
        pad_mode="constant" if spec.ends == "zeros" else "reflect",
        power=spec.power,
        n_mels=spec.bands,
        fmin=spec.low,
        fmax=spec.high,
        htk=spec.scale == "htk",
        norm=None if spec.scale == "htk" else "slaney",
    )
    ours = np.asarray(spec(samples[None]))[0] / np.log(10)
    wanted = np.log10(np.maximum(mel.T, spec.floor))
    quiet = wanted.max() - 7  # 70 dB below: the transform is in float32 here, and in float64 in librosa
    np.testing.assert_allclose(np.maximum(ours, quiet), np.maximum(wanted, quiet), atol=1e-4)


@pytest.mark.parametrize("scale", ["slaney", "htk"])
@pytest.mark.parametrize("shape", [(16000, 400, 80, 0.0, None), (22050, 1024, 80, 40.0, 8000.0)])
def test_filters_are_those_of_librosa(scale, shape):
    rate, fft, bands, low, high = shape
    norm = None if scale == "htk" else "slaney"
    wanted = librosa.filters.mel(sr=rate, n_fft=fft, n_mels=bands, fmin=low, fmax=high, htk=scale == "htk", norm=norm)
    np.testing.assert_allclose(mel_filters(rate, fft, bands, low, high, scale), wanted.T, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("stft", [Stft(), Stft(1024, 256, 1024, "reflect"), Stft(400, 160, 512)])
def test_transform_and_inverse_are_those_of_librosa(stft):
    samples = sound(9001)
    options = {"n_fft": stft.size, "hop_length": stft.hop, "win_length": stft.window}
    mode = "constant" if stft.ends == "zeros" else "reflect"
    wanted = librosa.stft(samples, pad_mode=mode, **options)
    ours = stft(samples[None])
    np.testing.assert_allclose(ours[0], wanted.T, atol=1e-4)
    changed = np.asarray(ours) * np.exp(1j * np.random.default_rng(0).normal(size=ours.shape)).astype(np.complex64)
    back = librosa.istft(changed[0].T, length=9001, **options)
    np.testing.assert_allclose(stft.inverse(changed, 9001)[0], back, atol=1e-4)
