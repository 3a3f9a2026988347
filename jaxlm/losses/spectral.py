"""The loss of a vocoder: how far spectra of several resolutions are from those of the recording.

Yamamoto et al. 2020 (Parallel WaveGAN, arXiv:1910.11480, equations 2 to 6). Shapes: B batch, N samples, T frames, F
frequencies.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from jaxlm.errors import BadInput
from jaxlm.steps import LossFn, Mean, Metrics, PyTree

FLOOR = 1e-5  # the smallest magnitude whose logarithm is compared


class Transform(Protocol):
    """A short-time Fourier transform, such as `jaxlm.data.audio.spectrogram.Stft`."""

    def __call__(self, samples_BN: jax.Array, lengths_B: jax.Array) -> jax.Array:
        """Return spectra, complex64 [B, T, F]."""
        ...

    def frames(self, lengths: Any) -> Any:
        """Return how many frames so many samples have."""
        ...


@dataclass(frozen=True)
class Spectral:
    """Spec of the loss of a vocoder.

    Attributes:
        resolutions: window and hop of each transform, in samples.
    """

    resolutions: tuple[tuple[int, int], ...] = ((512, 50), (1024, 120), (2048, 240))

    def __post_init__(self) -> None:
        """Check the fields; raises BadInput."""
        if not self.resolutions:
            raise BadInput("loss.resolutions is empty: give windows and hops, such as 512 50 1024 120")


def spectral(sound: Callable[[Any, Any], jax.Array], transforms: Sequence[Transform]) -> LossFn:
    """Return the distance of sound from its recording, averaged over the resolutions.

    For a row and a resolution it is the spectral convergence, |S - S'| / |S| in Frobenius norms of magnitudes, and the
    mean over its frames and frequencies of |log S - log S'|.

    The batch has "audio" float32 (B, N), "samples" int32 (B,) and "mask" float32 (B,), the weight of each row.

    The metrics are "loss", "convergence" and "log_magnitude", per row.

    Args:
        sound: (variables, batch) -> the sound that a model makes, float32 (B, N).
        transforms: the resolutions.
    """

    def loss(
        params: PyTree, variables: PyTree, batch: PyTree, key: jax.Array, *, train: bool
    ) -> tuple[Metrics, PyTree]:
        del key, train
        made_BN, samples_B = sound({"params": params, **variables}, batch), batch["samples"]
        pairs = [_distances(transform, made_BN, batch["audio"], samples_B) for transform in transforms]
        convergence_B, log_B = (sum(values) / len(transforms) for values in zip(*pairs, strict=True))
        weights_B = batch["mask"]
        parts = {"convergence": convergence_B, "log_magnitude": log_B}
        values = {"loss": convergence_B + log_B, **parts}
        return {name: Mean.from_values(value_B, weights_B) for name, value_B in values.items()}, variables

    return loss


def _distances(
    transform: Transform, made_BN: jax.Array, real_BN: jax.Array, samples_B: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Return spectral convergence and the mean distance of log-magnitudes of each row, [B] each."""
    made_BTF, real_BTF = (_magnitude(transform(sound_BN, samples_B)) for sound_BN in (made_BN, real_BN))
    frames_B = transform.frames(samples_B)
    inside_BT1 = (jnp.arange(real_BTF.shape[1])[None] < frames_B[:, None])[..., None]
    off_B, size_B = (jnp.where(inside_BT1, x**2, 0).sum((1, 2)) for x in (made_BTF - real_BTF, real_BTF))
    convergence_B = jnp.sqrt(jnp.maximum(off_B, 1e-12) / jnp.maximum(size_B, 1e-8))
    logs = jnp.abs(jnp.log(made_BTF) - jnp.log(real_BTF))
    cells_B = jnp.maximum(frames_B, 1) * real_BTF.shape[2]
    return convergence_B, jnp.where(inside_BT1, logs, 0).sum((1, 2)) / cells_B


def _magnitude(spectra_BTF: jax.Array) -> jax.Array:
    """Return magnitudes of at least `FLOOR`; below it the gradient is 0, where a root of 0 has none."""
    return jnp.sqrt(jnp.maximum(spectra_BTF.real**2 + spectra_BTF.imag**2, FLOOR**2))
