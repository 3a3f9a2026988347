"""What is done to recordings on the device: pure functions of a batch and a PRNG key for each of its rows.

The keys are those of the batch (see `jaxlm.data.keys`), so what is drawn is a function of (seed, update, example),
whatever the micro-batches, devices and workers.

B batch, S samples, F frames, M mel bands.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from jaxlm.data.audio.recordings import FULL
from jaxlm.errors import BadInput
from jaxlm.steps.keys import typed_keys

AFTER = 1 << 16  # separates the keys of `SpecAugment` from those of the operations on samples
Waves = tuple[jax.Array, jax.Array]


class WaveOperation(Protocol):
    """A random operation on sound."""

    def __call__(self, audio_BS: jax.Array, samples_B: jax.Array, keys_B: jax.Array, rate: int) -> Waves:
        """Return sound and lengths after the operation; samples past the length are zero before and after."""
        ...


def apply_waves(operations: tuple[WaveOperation, ...], batch: dict[str, Any], rate: int) -> dict[str, Any]:
    """Apply random operations to the sound of a batch, one after the other.

    Args:
        operations: each gets keys of its own, from the keys of the batch and its position in this tuple.
        batch: "audio" int16, or float in -1 .. 1, [B, S]; "samples" int32 [B]; "keys" uint32 [B, 2].
        rate: samples a second.

    Returns:
        The batch with "audio" float32 and "samples" after the operations.
    """
    audio, samples = to_float(batch["audio"]), batch["samples"]
    for number, operation in enumerate(operations):
        audio, samples = operation(audio, samples, _keys(batch, number), rate)
    return {**batch, "audio": audio, "samples": samples}


def to_float(audio_BS: jax.Array) -> jax.Array:
    """Return samples, int16 or in -1 .. 1, as float32 in -1 .. 1."""
    return audio_BS.astype(jnp.float32) / FULL if audio_BS.dtype == jnp.int16 else audio_BS


def _keys(batch: dict[str, Any], number: int) -> jax.Array:
    keys_B = typed_keys(batch["keys"])
    return jax.vmap(jax.random.fold_in, (0, None))(keys_B, number)


def _uniform(keys_B: jax.Array, low: Any = 0.0, high: Any = 1.0, *, number: int = 0) -> jax.Array:
    """Draw a number in [low, high) from each key; `number` separates the draws of one operation. float32 [B]."""
    draws_B = jax.vmap(lambda key: jax.random.uniform(jax.random.fold_in(key, number)))(keys_B)
    return low + draws_B * (high - low)


def _check_pair(operation: Any, name: str, least: float, unit: str) -> None:
    low, high = getattr(operation, name)
    if not least <= low <= high:
        given = f"{type(operation).__name__}.{name} is {(low, high)}"
        raise BadInput(f"{given}: give the lower bound first, in {unit}, at least {least}")


def _inside(samples_B: jax.Array, width: int) -> jax.Array:
    """Return which samples are those of the recording, bool [B, S]."""
    return jnp.arange(width)[None] < samples_B[:, None]


@dataclass(frozen=True)
class Gain:
    """Change the loudness by a random number of decibels.

    Attributes:
        decibels: lowest and highest.
    """

    decibels: tuple[float, float] = (-10.0, 10.0)

    def __post_init__(self) -> None:
        """Check the fields; raises BadInput."""
        _check_pair(self, "decibels", -200, "decibels")

    def __call__(self, audio_BS: jax.Array, samples_B: jax.Array, keys_B: jax.Array, rate: int) -> Waves:
        """Return sound and lengths after the operation."""
        del rate
        return audio_BS * 10 ** (_uniform(keys_B, *self.decibels) / 20)[:, None], samples_B


@dataclass(frozen=True)
class WhiteNoise:
    """Add white noise.

    Attributes:
        ratio: lowest and highest ratio of the power of the recording to that of the noise, in decibels.
    """

    ratio: tuple[float, float] = (10.0, 40.0)

    def __post_init__(self) -> None:
        """Check the fields; raises BadInput."""
        _check_pair(self, "ratio", -200, "decibels")

    def __call__(self, audio_BS: jax.Array, samples_B: jax.Array, keys_B: jax.Array, rate: int) -> Waves:
        """Return sound and lengths after the operation."""
        del rate
        power_B = jnp.square(audio_BS).sum(1) / jnp.maximum(samples_B, 1)
        scale_B = jnp.sqrt(power_B * 10 ** (-_uniform(keys_B, *self.ratio) / 10))
        noise_BS = jax.vmap(lambda key: jax.random.normal(jax.random.fold_in(key, 1), audio_BS.shape[1:]))(keys_B)
        noisy_BS = audio_BS + scale_B[:, None] * noise_BS
        return jnp.where(_inside(samples_B, audio_BS.shape[1]), noisy_BS, 0), samples_B


@dataclass(frozen=True)
class Colour:
    """Filter a recording by a short random impulse response, as another voice, microphone or room would colour it.

    The filter is 1 at delay 0 and normal at delays 1 .. taps, and keeps the power of white noise.

    Attributes:
        taps: delays of the filter, in samples.
        strength: the largest standard deviation of all delays together; each recording draws its own below it.
    """

    taps: int = 8
    strength: float = 0.7

    def __post_init__(self) -> None:
        """Check the fields; raises BadInput."""
        if self.taps < 1 or self.strength < 0:
            raise BadInput(f"{self}: give at least 1 tap, and a strength of 0 or more")

    def __call__(self, audio_BS: jax.Array, samples_B: jax.Array, keys_B: jax.Array, rate: int) -> Waves:
        """Return sound and lengths after the operation."""
        del rate
        scale_B1 = _uniform(keys_B, 0, self.strength)[:, None] / self.taps**0.5
        draws_BT = jax.vmap(lambda key: jax.random.normal(jax.random.fold_in(key, 1), (self.taps,)))(keys_B)
        filter_BT = jnp.pad(scale_B1 * draws_BT, ((0, 0), (1, 0)), constant_values=1.0)
        filter_BT = filter_BT * jax.lax.rsqrt(jnp.square(filter_BT).sum(1, keepdims=True))
        width, delayed_BS = audio_BS.shape[1], jnp.pad(audio_BS, ((0, 0), (self.taps, 0)))
        parts = [filter_BT[:, n, None] * delayed_BS[:, self.taps - n :][:, :width] for n in range(self.taps + 1)]
        return jnp.where(_inside(samples_B, width), sum(parts), 0), samples_B


@dataclass(frozen=True)
class Speed:
    """Play faster or slower, which moves the pitch too (Ko et al. 2015), by linear interpolation.

    A recording that would not fit the row any more is played as slowly as fits.

    Attributes:
        factor: lowest and highest; 2 is twice as fast.
    """

    factor: tuple[float, float] = (0.9, 1.1)

    def __post_init__(self) -> None:
        """Check the fields; raises BadInput."""
        _check_pair(self, "factor", 0.1, "times the speed")

    def __call__(self, audio_BS: jax.Array, samples_B: jax.Array, keys_B: jax.Array, rate: int) -> Waves:
        """Return sound and lengths after the operation."""
        del rate
        width = audio_BS.shape[1]
        factor_B = jnp.maximum(_uniform(keys_B, *self.factor), samples_B / width)
        length_B = jnp.minimum((samples_B / factor_B).astype(jnp.int32), width)
        place_BS = jnp.arange(width)[None] * factor_B[:, None]
        before_BS = jnp.clip(place_BS.astype(jnp.int32), 0, width - 2)
        share_BS = place_BS - before_BS
        first_BS, second_BS = (jnp.take_along_axis(audio_BS, before_BS + n, 1) for n in (0, 1))
        mixed_BS = (1 - share_BS) * first_BS + share_BS * second_BS
        return jnp.where(_inside(length_B, width), mixed_BS, 0), length_B


@dataclass(frozen=True)
class Shift:
    """Put silence before a recording, as far as the row has room.

    Attributes:
        seconds: of silence at most.
    """

    seconds: float = 0.1

    def __post_init__(self) -> None:
        """Check the fields; raises BadInput."""
        if self.seconds < 0:
            raise BadInput(f"Shift.seconds is {self.seconds}: give 0 or more")

    def __call__(self, audio_BS: jax.Array, samples_B: jax.Array, keys_B: jax.Array, rate: int) -> Waves:
        """Return sound and lengths after the operation."""
        room_B = jnp.minimum(self.seconds * rate, audio_BS.shape[1] - samples_B)
        shift_B = (_uniform(keys_B) * (room_B + 1)).astype(jnp.int32)
        shift_B = jnp.minimum(shift_B, room_B.astype(jnp.int32))
        return jax.vmap(jnp.roll)(audio_BS, shift_B), samples_B + shift_B


def standardise(features_BFM: jax.Array, frames_B: jax.Array) -> jax.Array:
    """Give each recording mean 0 and variance 1 over all bands of its own frames; float32, 0 on padding.

    So loudness does not reach the model, and neither does the padding. The mean of each band by itself is kept: in a
    recording of one word it distinguishes the word.
    """
    inside_BF1 = (jnp.arange(features_BFM.shape[1])[None] < frames_B[:, None])[..., None]
    count_B11 = jnp.maximum(frames_B, 1)[:, None, None] * features_BFM.shape[2]
    centred_BFM = features_BFM - jnp.where(inside_BF1, features_BFM, 0).sum((1, 2), keepdims=True) / count_B11
    centred_BFM = jnp.where(inside_BF1, centred_BFM, 0)
    variance_B11 = jnp.square(centred_BFM).sum((1, 2), keepdims=True) / count_B11
    return centred_BFM * jax.lax.rsqrt(variance_B11 + 1e-5)


@dataclass(frozen=True)
class SpecAugment:
    """Hide random bands of frequencies and stretches of time (Park et al. 2019, arXiv:1904.08779, section 2).

    Widths are uniform from 0 to their largest, and stretches are within the recording's own frames. What is hidden
    becomes 0, the mean of `standardise`. Time is not warped, which gains the least there (table 5 of the paper).

    Attributes:
        bands: how many bands of frequencies.
        band: the widest, in mel bands (F of the paper).
        stretches: how many stretches of time.
        stretch: the longest, in frames (T of the paper).
        share: the longest, as a share of the recording's frames (p of the paper).
    """

    bands: int = 2
    band: int = 27
    stretches: int = 2
    stretch: int = 100
    share: float = 0.2

    def __post_init__(self) -> None:
        """Check the fields; raises BadInput."""
        if min(self.bands, self.band, self.stretches, self.stretch) < 0 or not 0 <= self.share <= 1:
            raise BadInput(f"{self}: numbers and widths are at least 0, and share is from 0 to 1")

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Return the batch with "features" float32 [B, F, M] of which parts are 0; "frames" and "keys" are read."""
        features_BFM, frames_B, keys_B = batch["features"], batch["frames"], _keys(batch, AFTER)
        _, frames, mels = features_BFM.shape
        hidden_BFM = jnp.zeros(features_BFM.shape, bool)
        for number in range(self.bands):
            inside_BM = _interval(keys_B, 2 * number, float(min(self.band, mels)), float(mels), mels)
            hidden_BFM |= inside_BM[:, None, :]
        longest_B = jnp.minimum(self.stretch, self.share * frames_B)
        for number in range(self.bands, self.bands + self.stretches):
            hidden_BFM |= _interval(keys_B, 2 * number, longest_B, frames_B, frames)[:, :, None]
        return {**batch, "features": jnp.where(hidden_BFM, 0, features_BFM)}


def _interval(keys_B: jax.Array, number: int, longest: Any, size: Any, count: int) -> jax.Array:
    """Return where a random interval of at most `longest` places is within the first `size`; bool [B, count]."""
    width_B = jnp.floor(_uniform(keys_B, 0, longest + 1, number=number))
    width_B = jnp.minimum(width_B, jnp.floor(jnp.asarray(longest, jnp.float32)))
    first_B = jnp.floor(_uniform(keys_B, 0, size - width_B + 1, number=number + 1))
    places_C = jnp.arange(count)[None]
    return (places_C >= first_B[:, None]) & (places_C < (first_B + width_B)[:, None])
