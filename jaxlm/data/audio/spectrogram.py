"""Spectrograms in JAX: the short-time Fourier transform and its inverse, and log-mel bands.

All of it is a pure function of arrays in float32, batched, and can be compiled. Its values are those of librosa, their
log10 within 1e-4 down to 70 dB below the loudest; what is below that, float32 rounds.

B rows, N samples, T frames, W samples of a Fourier transform, F frequencies (W // 2 + 1), M mel bands.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxlm.errors import BadInput

Ends = Literal["zeros", "reflect"]
MelScale = Literal["slaney", "htk"]


@dataclass(frozen=True)
class Stft:
    """Short-time Fourier transform with a periodic Hann window, frame t centred at sample t * hop, as librosa has it.

    Attributes:
        window: samples of the window.
        hop: samples from one frame to the next, at most `window`.
        fft: samples of a transform (W), even, with the window in their middle; None: `window`.
        ends: what precedes and follows the samples, W // 2 of each: zeros, or the samples themselves mirrored.
    """

    window: int = 400
    hop: int = 160
    fft: int | None = None
    ends: Ends = "zeros"

    def __post_init__(self) -> None:
        if not 1 <= self.hop <= self.window <= self.size or self.size % 2:
            raise BadInput(f"a spectrogram needs 1 <= hop <= window <= fft and an even fft, and this is {self}")

    @property
    def size(self) -> int:
        """Return W, the samples of a transform."""
        return self.fft or self.window

    def frames(self, lengths: Any) -> Any:
        """Return how many frames so many samples have: a number, or an array of them."""
        return 1 + lengths // self.hop

    def __call__(self, samples_BN: ArrayLike, lengths_B: ArrayLike | None = None) -> jax.Array:
        """Return the spectrum of each frame, complex64 [B, T, F] with T = 1 + N // hop.

        Law: the first `frames(lengths[b])` frames of a row are those of its samples alone, whatever follows them.

        Args:
            samples_BN: sound of any scale; it is computed in float32.
            lengths_B: int [B], the samples of each row; what follows them is left out. None: N of them.

        Raises:
            BadInput: ends are to be mirrored and N is not more than W // 2.
        """
        lengths_B = None if lengths_B is None else jnp.asarray(lengths_B)
        whole_BN = self._extend(jnp.asarray(samples_BN, jnp.float32), lengths_B)
        frames_BTW = _frames(whole_BN, self.size, self.hop)
        return jnp.fft.rfft(frames_BTW * hann(self.window, self.size)[None, None])

    def inverse(self, spectra_BTF: jax.Array, length: int) -> jax.Array:
        """Return the samples of spectra, float32 [B, length]; of any spectra, the best fit in least squares.

        Griffin and Lim 1984, equation 6: windowed frames are added, and divided by the sum of squared windows.

        Law: `inverse(stft(x), N)` is x.
        """
        window_11W = hann(self.window, self.size)[None, None]
        summed_BN = _overlap(jnp.fft.irfft(spectra_BTF, self.size) * window_11W, self.hop)
        squares_1TW = jnp.broadcast_to(window_11W**2, (1, spectra_BTF.shape[1], self.size))
        samples_BN = summed_BN / jnp.maximum(_overlap(squares_1TW, self.hop), 1e-8)
        before = self.size // 2
        samples_BN = samples_BN[:, before : before + length]
        return jnp.pad(samples_BN, ((0, 0), (0, length - samples_BN.shape[1])))

    def _extend(self, samples_BN: jax.Array, lengths_B: jax.Array | None) -> jax.Array:
        """Return each row with W // 2 samples before and after its own, and zeros behind, [B, N + 2 * (W // 2)]."""
        count, half = samples_BN.shape[1], self.size // 2
        if lengths_B is not None:
            samples_BN = jnp.where(jnp.arange(count)[None] < lengths_B[:, None], samples_BN, 0.0)
        if self.ends == "zeros":
            return jnp.pad(samples_BN, ((0, 0), (half, half)))
        if count <= half:
            raise BadInput(f"{count} samples are too few to mirror {half} at each end: give a longer sound")
        if lengths_B is None:
            return jnp.pad(samples_BN, ((0, 0), (half, half)), mode="reflect")
        last_B1 = lengths_B[:, None] - 1
        place_BN = jnp.abs(jnp.arange(-half, count + half))[None]
        mirrored_BN = jnp.where(place_BN > last_B1, 2 * last_B1 - place_BN, place_BN)
        taken_BN = jnp.take_along_axis(samples_BN, jnp.clip(mirrored_BN, 0, count - 1), 1)
        return jnp.where((mirrored_BN >= 0) & (place_BN <= last_B1 + half), taken_BN, 0.0)


@dataclass(frozen=True)
class LogMel:
    """Spec of log-mel bands, log(max(mel, floor)), as librosa's `melspectrogram` and a logarithm have them.

    Attributes:
        rate: samples a second.
        window: samples of the Hann window.
        hop: samples from one frame to the next.
        bands: mel bands (M).
        fft: samples of a Fourier transform; None: `window`.
        low: the lowest frequency, Hz.
        high: the highest frequency, Hz; None: rate / 2.
        scale: of the bands, see `mel_filters`.
        power: of the magnitudes before they are summed into bands: 2.0, or 1.0.
        floor: the smallest value whose logarithm is taken.
        ends: see `Stft`.
    """

    rate: int = 16000
    window: int = 400
    hop: int = 160
    bands: int = 80
    fft: int | None = None
    low: float = 0.0
    high: float | None = None
    scale: MelScale = "slaney"
    power: float = 2.0
    floor: float = 1e-10
    ends: Ends = "zeros"

    def __post_init__(self) -> None:
        high = self.rate / 2 if self.high is None else self.high
        if self.rate < 1 or not 0 <= self.low < high <= self.rate / 2:
            raise BadInput(f"mel bands need 0 <= low < high <= rate / 2, and this is {self}")
        if self.bands < 1 or self.power not in (1.0, 2.0) or self.floor <= 0:
            raise BadInput(f"mel bands need bands >= 1, power 1.0 or 2.0 and floor > 0, and this is {self}")
        self.stft  # noqa: B018  # its own checks

    @property
    def stft(self) -> Stft:
        """Return the transform below the bands."""
        return Stft(self.window, self.hop, self.fft, self.ends)

    def frames(self, lengths: Any) -> Any:
        """Return how many frames so many samples have: a number, or an array of them."""
        return self.stft.frames(lengths)

    def filters(self) -> np.ndarray:
        """Return the bands as weights of frequencies, float32 [F, M]."""
        return mel_filters(self.rate, self.stft.size, self.bands, self.low, self.high, self.scale)

    def __call__(self, samples_BN: ArrayLike, lengths_B: ArrayLike | None = None) -> jax.Array:
        """Return the natural logarithm of each band, float32 [B, T, M] with T = 1 + N // hop.

        Law: the first `frames(lengths[b])` frames of a row are those of its samples alone, and the others log(floor).

        Args:
            samples_BN: sound, usually from -1 to 1.
            lengths_B: int [B], the samples of each row. None: N of them.
        """
        return jnp.log(jnp.maximum(self.mel(samples_BN, lengths_B), self.floor))

    def mel(self, samples_BN: ArrayLike, lengths_B: ArrayLike | None = None) -> jax.Array:
        """Return each band before the logarithm, float32 [B, T, M], 0 in frames behind the row's own."""
        spectra_BTF = self.stft(samples_BN, lengths_B)
        energy_BTF = spectra_BTF.real**2 + spectra_BTF.imag**2
        if self.power == 1.0:  # the smallest magnitude has a gradient of zero, where a root of zero has none
            energy_BTF = jnp.sqrt(jnp.maximum(energy_BTF, 1e-24))
        bands_BTM = jnp.matmul(energy_BTF, self.filters(), precision="highest")
        if lengths_B is None:
            return bands_BTM
        own_BT = jnp.arange(bands_BTM.shape[1])[None] < self.frames(jnp.asarray(lengths_B))[:, None]
        return jnp.where(own_BT[..., None], bands_BTM, 0.0)


@cache
def hann(window: int, size: int) -> np.ndarray:
    """Return a periodic Hann window in the middle of `size` samples, float32 [size]."""
    before = (size - window) // 2
    curve = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    return _kept(np.pad(curve, (before, size - window - before)))


@cache
def mel_filters(
    rate: int, fft: int, bands: int, low: float = 0.0, high: float | None = None, scale: MelScale = "slaney"
) -> np.ndarray:
    """Return triangular mel bands as weights of frequencies, float32 [F, M].

    Band m rises from edge m to edge m + 1 and falls to edge m + 2, of bands + 2 edges equally far apart on the scale:
    "slaney" (Slaney 1998: linear to 1 kHz, then logarithmic; bands of equal area in Hz) or "htk" (Young et al. 2006:
    2595 log10(1 + f / 700); bands of height 1).
    """
    to_mel, to_hertz = (_slaney_mel, _slaney_hertz) if scale == "slaney" else (_htk_mel, _htk_hertz)
    first, last = to_mel(np.array([low, rate / 2 if high is None else high]))
    edges = to_hertz(np.linspace(first, last, bands + 2))
    frequencies_F1 = np.fft.rfftfreq(fft, 1 / rate)[:, None]
    rise_FM = (frequencies_F1 - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall_FM = (edges[2:] - frequencies_F1) / (edges[2:] - edges[1:-1])
    weights_FM = np.maximum(0, np.minimum(rise_FM, fall_FM))
    return _kept(weights_FM * 2 / (edges[2:] - edges[:-2]) if scale == "slaney" else weights_FM)


def _frames(samples_BN: jax.Array, size: int, hop: int) -> jax.Array:
    """Cut rows into frames, [B, T, size]: pieces of `hop` samples side by side, which is faster than a gather."""
    batch, count = samples_BN.shape
    frames, pieces = 1 + (count - size) // hop, -(-size // hop)
    padded_BN = jnp.pad(samples_BN, ((0, 0), (0, max(0, (frames + pieces - 1) * hop - count))))
    pieces_BPH = padded_BN[:, : (frames + pieces - 1) * hop].reshape(batch, -1, hop)
    side_by_side = [pieces_BPH[:, piece : piece + frames] for piece in range(pieces)]
    return jnp.concatenate(side_by_side, -1)[..., :size]


def _overlap(frames_BTW: jax.Array, hop: int) -> jax.Array:
    """Add frames, each `hop` samples after the one before, [B, N]."""
    batch, frames, size = frames_BTW.shape
    pieces = -(-size // hop)
    padded_BTPH = jnp.pad(frames_BTW, ((0, 0), (0, 0), (0, pieces * hop - size))).reshape(batch, frames, pieces, hop)
    shifted = [
        jnp.pad(padded_BTPH[:, :, piece], ((0, 0), (piece, pieces - 1 - piece), (0, 0))) for piece in range(pieces)
    ]
    return sum(shifted).reshape(batch, -1)  # type: ignore[union-attr]  # there is at least one


def _slaney_mel(hertz: np.ndarray) -> np.ndarray:
    beyond = 15 + 27 * np.log(np.maximum(hertz, 1000) / 1000) / np.log(6.4)
    return np.where(hertz < 1000, 3 * hertz / 200, beyond)


def _slaney_hertz(mel: np.ndarray) -> np.ndarray:
    return np.where(mel < 15, 200 * mel / 3, 1000 * np.exp((np.maximum(mel, 15) - 15) / 27 * np.log(6.4)))


def _htk_mel(hertz: np.ndarray) -> np.ndarray:
    return 2595 * np.log10(1 + hertz / 700)


def _htk_hertz(mel: np.ndarray) -> np.ndarray:
    return 700 * (10 ** (mel / 2595) - 1)


def _kept(values: np.ndarray) -> np.ndarray:
    """Return values as float32 that cannot be written to, since they are kept."""
    values = values.astype(np.float32)
    values.setflags(write=False)
    return values
