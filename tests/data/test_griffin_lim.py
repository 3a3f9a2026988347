"""Phases from magnitudes: the distance of spectra falls, and magnitudes are found from their mel bands."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxlm.data.audio.griffin_lim import consistency, griffin_lim, magnitudes
from jaxlm.data.audio.spectrogram import LogMel, Stft

STFT, RATE = Stft(64, 16), 800
TIMES = np.arange(320) / RATE


def sound():
    """Two gliding tones and a pulse."""
    glide = np.sin(2 * np.pi * (60 * TIMES + 120 * TIMES**2)) + 0.5 * np.sin(2 * np.pi * 200 * TIMES)
    glide[100] += 2
    return jnp.asarray(glide[None], jnp.float32)


def test_the_distance_of_spectra_falls_with_the_iterations():
    sizes = jnp.abs(STFT(sound()))
    found = [float(consistency(STFT, sizes, griffin_lim(STFT, sizes, 320, n))[0]) for n in (0, 2, 8, 32, 128)]
    assert found == sorted(found, reverse=True)
    assert found[-1] < 0.2 * found[0]


def test_sound_is_consistent_with_its_own_magnitudes():
    sizes = jnp.abs(STFT(sound()))
    assert float(consistency(STFT, sizes, sound())[0]) == pytest.approx(0, abs=1e-5)


def test_a_steady_tone_is_found_again():
    tone = jnp.asarray(np.sin(2 * np.pi * 200 * TIMES)[None], jnp.float32)
    sizes = jnp.abs(STFT(tone))
    found = np.asarray(griffin_lim(STFT, sizes, 320, 50))[0, 64:-64]
    spectrum = np.abs(np.fft.rfft(found * np.hanning(len(found))))
    assert np.fft.rfftfreq(len(found), 1 / RATE)[spectrum.argmax()] == pytest.approx(200, abs=5)
    assert np.abs(found).max() == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("power", [1.0, 2.0])
def test_magnitudes_have_the_bands_that_they_are_found_from(power):
    features = LogMel(rate=RATE, window=64, hop=16, bands=8, power=power, floor=1e-5)
    mel = features(sound())
    sizes = np.asarray(magnitudes(features, mel))
    assert sizes.min() >= 0
    bands = np.asarray(sizes**power @ features.filters())
    off = bands - np.exp(mel)  # what was negative and is 0 now makes a band louder
    assert np.linalg.norm(off) < 0.2 * np.linalg.norm(bands)
