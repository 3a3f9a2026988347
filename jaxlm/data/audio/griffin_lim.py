"""Sound from a mel spectrogram without a model: the Griffin-Lim algorithm.

B rows, N samples, T frames, F frequencies, M mel bands.
"""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np

from jaxlm.data.audio.spectrogram import LogMel, Stft

MOMENTUM = 0.99


def griffin_lim(stft: Stft, sizes_BTF: jax.Array, length: int, iterations: int = 60) -> jax.Array:
    """Find sound whose spectrum has these magnitudes, float32 [B, length].

    Griffin & Lim 1984, with the momentum of Perraudin et al. 2013 ("fast Griffin-Lim"). Phases begin as those of a sum
    of steady sinusoids, one a frequency, so nothing is drawn at random.

    Law: `consistency` of the result falls with the iterations, and sound is kept where its own phases begin.

    Args:
        stft: the transform.
        sizes_BTF: magnitudes.
        length: N, samples of the result.
        iterations: of the algorithm.
    """
    frames = sizes_BTF.shape[1]
    turns_TF = (np.arange(frames) * stft.hop % stft.size)[:, None] * np.arange(stft.size // 2 + 1)[None] / stft.size
    phases_1TF = jnp.asarray(np.exp(2j * np.pi * (turns_TF % 1)).astype(np.complex64))[None]
    start = jnp.broadcast_to(phases_1TF, sizes_BTF.shape)

    def improve(carry: tuple[jax.Array, jax.Array], _: None) -> tuple[tuple[jax.Array, jax.Array], None]:
        phases_BTF, before_BTF = carry
        projected_BTF = stft(stft.inverse(sizes_BTF * phases_BTF, length))
        return (_unit(projected_BTF + MOMENTUM * (projected_BTF - before_BTF)), projected_BTF), None

    (phases_BTF, _), _ = jax.lax.scan(improve, (start, jnp.zeros_like(start)), None, iterations)
    return stft.inverse(sizes_BTF * phases_BTF, length)


def consistency(stft: Stft, sizes_BTF: jax.Array, samples_BN: jax.Array) -> jax.Array:
    """Return the spectral convergence of each row, |sizes - |stft(samples)|| / |sizes| in Frobenius norms, [B].

    Arik et al. 2018 (arXiv:1808.06719, section 3.1).
    """
    off_BTF = sizes_BTF - jnp.abs(stft(samples_BN))
    norms = (jnp.sqrt(jnp.square(x).sum((1, 2))) for x in (off_BTF, sizes_BTF))
    return next(norms) / jnp.maximum(next(norms), 1e-8)


def _unit(x: jax.Array) -> jax.Array:
    return x / jnp.maximum(jnp.abs(x), 1e-8)


def magnitudes(features: LogMel, mel_BTM: jax.Array) -> jax.Array:
    """Return magnitudes whose bands are about these, float32 [B, T, F]: the pseudo-inverse of the bands, at least 0.

    Args:
        features: the spectrogram.
        mel_BTM: log-mel bands, as `features` gives them.
    """
    powers_BTF = jnp.maximum(jnp.matmul(jnp.exp(mel_BTM), _inverse(features), precision="highest"), 0)
    return powers_BTF if features.power == 1.0 else jnp.sqrt(powers_BTF)


@cache
def _inverse(features: LogMel) -> np.ndarray:
    """Return the pseudo-inverse of the bands, float32 [M, F]."""
    return np.linalg.pinv(features.filters().astype(np.float64)).astype(np.float32)
