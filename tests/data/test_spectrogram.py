"""Spectrograms against a discrete Fourier transform written out in NumPy, and their laws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from refusals import refused

from jaxlm.data.audio.spectrogram import LogMel, Stft, hann, mel_filters

SHAPES = [Stft(), Stft(200, 80, 256, "reflect"), Stft(25, 10, 32), Stft(16, 16), Stft(64, 7, 64, "reflect")]


def noise(rows, count, seed=0):
    return np.random.default_rng(seed).normal(size=(rows, count)).astype(np.float32)


def spectrum(samples, window, hop, size, ends):
    """The definition: each frame's samples times the window times exp(-2 pi i f n / W), in float64."""
    mode = {"mode": "reflect"} if ends == "reflect" else {}
    padded = np.pad(samples.astype(np.float64), size // 2, **mode)
    before = (size - window) // 2
    curve = np.zeros(size)
    curve[before : before + window] = np.sin(np.pi * np.arange(window) / window) ** 2
    basis = np.exp(-2j * np.pi * np.outer(np.arange(size), np.arange(size // 2 + 1)) / size)
    starts = range(0, len(samples) + 1, hop)
    return np.stack([(padded[start : start + size] * curve) @ basis for start in starts if start + size <= len(padded)])


@pytest.mark.parametrize("stft", SHAPES)
def test_frames_are_a_windowed_fourier_transform(stft):
    samples = noise(2, 1003)
    wanted = [spectrum(row, stft.window, stft.hop, stft.size, stft.ends) for row in samples]
    ours = jax.jit(stft)(samples)
    assert ours.dtype == jnp.complex64
    assert ours.shape[1] == stft.frames(1003)
    np.testing.assert_allclose(ours, wanted, atol=1e-4)


@pytest.mark.parametrize("stft", [shape for shape in SHAPES if shape.hop < shape.window])  # frames that overlap
@pytest.mark.parametrize("count", [300, 1003])
def test_the_inverse_gives_the_samples_back(stft, count):
    samples = noise(2, count)
    back = jax.jit(lambda x: stft.inverse(stft(x), count))(samples)
    inner = slice(0, count - stft.window)  # the last samples may be in no frame but at a window's very edge
    np.testing.assert_allclose(back[:, inner], samples[:, inner], atol=1e-4)
    assert back.shape == samples.shape


def test_the_inverse_is_the_best_fit_in_least_squares():
    stft, count = Stft(16, 4), 40
    random = np.random.default_rng(0)
    spectra = (random.normal(size=(1, 11, 9)) + 1j * random.normal(size=(1, 11, 9))).astype(np.complex64)
    ours = stft.inverse(spectra, count)[0]
    frames, window = np.fft.irfft(spectra[0], 16), hann(16, 16)
    system = np.zeros((11 * 16, count + 16))  # a frame is the window times its piece of the samples
    for frame in range(11):
        system[frame * 16 : frame * 16 + 16, frame * 4 : frame * 4 + 16] = np.diag(window)
    wanted = np.linalg.lstsq(system, frames.reshape(-1), rcond=None)[0]
    np.testing.assert_allclose(ours, wanted[8 : 8 + count], atol=1e-4)


@pytest.mark.parametrize("ends", ["zeros", "reflect"])
def test_frames_of_a_row_do_not_depend_on_what_follows_it(ends):
    mel = LogMel(8000, 200, 80, 20, 256, ends=ends)
    lengths = np.array([1000, 640, 201])
    samples = noise(3, 1000)
    together = jax.jit(mel)(samples, jnp.asarray(lengths))
    for row, length in enumerate(lengths):
        alone = mel(samples[row : row + 1, :length])
        assert alone.shape[1] == mel.frames(length)
        np.testing.assert_allclose(together[row, : alone.shape[1]], alone[0], atol=1e-5)
        np.testing.assert_array_equal(together[row, alone.shape[1] :], np.float32(np.log(1e-10)))


def test_rows_do_not_depend_on_each_other():
    mel, samples = LogMel(), noise(3, 4000)
    np.testing.assert_allclose(mel(samples)[1:2], mel(samples[1:2]), atol=1e-5)


def test_a_tone_is_loudest_in_the_band_around_it():
    mel = LogMel(16000, 400, 160, 40)
    tone = np.sin(2 * np.pi * 1500 * np.arange(16000) / 16000, dtype=np.float32)
    filters = mel.filters()
    centre = np.argmax(filters, 0)[np.argmax(np.asarray(mel(tone[None]))[0, 50])] * 16000 / 400
    assert abs(centre - 1500) <= 80


@pytest.mark.parametrize("scale", ["slaney", "htk"])
def test_bands_are_triangles_on_their_scale(scale):
    filters = mel_filters(16000, 4096, 30, 100, 7000, scale)
    frequencies = np.fft.rfftfreq(4096, 1 / 16000)
    assert filters[(frequencies < 99.9) | (frequencies > 7000.1)].max() == 0
    peaks = frequencies[filters.argmax(0)]
    if scale == "htk":
        np.testing.assert_allclose(filters.max(0), 1, atol=0.05)
        gaps = np.diff(1127 * np.log(1 + peaks / 700))
    else:
        np.testing.assert_allclose(filters.sum(0) * 16000 / 4096, 1, atol=0.02)  # areas
        gaps = np.diff(np.log(peaks[peaks > 1000]))
    np.testing.assert_allclose(gaps, gaps.mean(), rtol=0.15)


def test_silence_has_finite_values_and_gradients():
    for power in (1.0, 2.0):
        mel = LogMel(8000, 64, 32, 10, power=power)
        value, slope = jax.value_and_grad(lambda x, mel=mel: mel(x).sum())(jnp.zeros((1, 320)))
        assert np.isfinite(value)
        assert np.isfinite(slope).all()


def test_magnitudes_are_roots_of_powers():
    samples, filters = noise(1, 640), mel_filters(8000, 64, 10)
    spectra = np.asarray(Stft(64, 32)(samples))
    np.testing.assert_allclose(LogMel(8000, 64, 32, 10, power=1.0).mel(samples), abs(spectra) @ filters, rtol=1e-4)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Stft(100, 0),
        lambda: Stft(100, 101),
        lambda: Stft(100, 50, 99),
        lambda: Stft(99, 50),
        lambda: LogMel(16000, 400, 500),
        lambda: LogMel(8000, high=4001.0),
        lambda: LogMel(8000, low=4000.0),
        lambda: LogMel(bands=0),
        lambda: LogMel(power=3.0),
        lambda: LogMel(floor=0.0),
        lambda: Stft(100, 50, ends="reflect")(np.zeros((1, 50))),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(make):
    refused(make)
