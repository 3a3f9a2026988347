"""From a mel spectrogram to the spectrum of its sound: a neural vocoder that ends in an inverse Fourier transform.

Siuzdak 2023 (Vocos, arXiv:2306.00814): all layers work at the rate of the frames, so that it is fast on a CPU.

B batch, T frames, M mel bands, F frequencies, D width.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxlm.errors import BadInput
from jaxlm.nn.linear import Dense
from jaxlm.nn.module import Module
from jaxlm.nn.norm import LayerNorm
from jaxlm.nn.speech import within
from jaxlm.nn.time_block import TimeBlock

LOUDEST = 1e2  # of a magnitude, as in the paper's code


class Vocos(Module):
    """Normalised log-mel bands to complex spectra; the sound is their inverse short-time Fourier transform.

    Law: the spectra of a row depend neither on its padding nor on the other rows.

    Attributes:
        bands: mel bands M.
        fft: samples of a Fourier transform, which has F = fft // 2 + 1 frequencies.
        width: D.
        hidden: inside the blocks.
        depth: blocks.
        kernel: frames that each block sees, odd.
    """

    bands: int = 80
    fft: int = 1024
    width: int = 256
    hidden: int = 768
    depth: int = 8
    kernel: int = 7

    @nn.compact
    def __call__(self, mel_BTM: jax.Array, frames_B: jax.Array, *, train: bool = False) -> jax.Array:
        """Return spectra, complex64 [B, T, F], 0 on padding.

        Args:
            mel_BTM: normalised log-mel bands.
            frames_B: int32, frames of each row.
            train: does nothing; there is no dropout.
        """
        del train
        self.validate()
        inside_BT = within(frames_B, mel_BTM.shape[1])
        x_BTD = LayerNorm(name="given_norm")(Dense(self.width, name="given")(mel_BTM))
        for number in range(self.depth):
            x_BTD = TimeBlock(self.hidden, self.kernel, name=f"block_{number}")(x_BTD, inside_BT)
        outputs = Dense(2 * (self.fft // 2 + 1), name="spectrum")(LayerNorm(name="norm")(x_BTD))
        size_BTF, angle_BTF = jnp.split(outputs.astype(jnp.float32), 2, -1)
        size_BTF = jnp.where(inside_BT[..., None], jnp.minimum(jnp.exp(size_BTF), LOUDEST), 0)
        return jax.lax.complex(size_BTF * jnp.cos(angle_BTF), size_BTF * jnp.sin(angle_BTF))

    def validate(self) -> None:
        """Check the fields against each other.

        Raises:
            BadInput: one line that names the field and how to fix it.
        """
        super().validate()
        if self.kernel % 2 == 0:
            raise BadInput(f"model.kernel is {self.kernel}: it must be odd")
        if self.fft % 2:
            raise BadInput(f"model.fft is {self.fft}: it must be even")
