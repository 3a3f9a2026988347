"""From text to a mel spectrogram: durations of tokens, then flow matching, without autoregression.

Mehta et al. 2024 (Matcha-TTS, arXiv:2309.03199), with one kind of block, `TimeBlock`, instead of its transformers
and U-Net.

B batch, L tokens, T frames, M mel bands, D width.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxlm.errors import BadInput
from jaxlm.nn.alignment import monotonic_alignment, spread_over_frames
from jaxlm.nn.dropout import Dropout
from jaxlm.nn.embed import Embed
from jaxlm.nn.linear import Dense
from jaxlm.nn.module import Module
from jaxlm.nn.norm import LayerNorm
from jaxlm.nn.position import sinusoids
from jaxlm.nn.speech import within
from jaxlm.nn.time_block import TimeBlock

TIME_SCALE = 1000.0  # times from 0 to 1 are sinusoidal positions from 0 to this


class EncodedText(NamedTuple):
    """What the encoder makes of a text.

    Attributes:
        mean_BLM: the average frame of each token.
        log_durations_BL: the logarithm of its predicted frames.
    """

    mean_BLM: jax.Array
    log_durations_BL: jax.Array


class FlowOutputs(NamedTuple):
    """What training compares, see `losses.text_to_mel`.

    Attributes:
        mean_BTM: the average frame of the token that each frame belongs to.
        velocity_BTM: predicted at a point between noise and the spectrogram.
        target_BTM: the velocity of the straight path there.
        log_durations_BL: the logarithm of the predicted frames of each token.
        durations_BL: int32, the frames of each token in the best alignment, 0 on padding.
    """

    mean_BTM: jax.Array
    velocity_BTM: jax.Array
    target_BTM: jax.Array
    log_durations_BL: jax.Array
    durations_BL: jax.Array


class Matcha(Module):
    """Text to mel spectrograms in the voices of several speakers.

    The encoder gives each token its average frame and its duration. The best monotonic alignment of these averages with
    the recording says, in training, which frames belong to a token. The decoder predicts the velocity from noise to
    spectrogram, given the averages: an ordinary differential equation leads from the one to the other
    (`decode.speak`).

    Laws: the outputs of a row depend neither on its padding nor on the other rows; durations sum to the frames.

    Attributes:
        vocab: number of tokens.
        speakers: number of voices.
        bands: mel bands M.
        width: D of the encoder and the decoder.
        hidden: inside the blocks.
        depth: blocks of the encoder.
        decoder_depth: blocks of the decoder.
        kernel: places that each block sees, odd.
        dropout: rate in the encoder.
        floor: the standard deviation of the noise that is left at the end of a path (sigma_min of the paper).
    """

    vocab: int
    speakers: int
    bands: int = 80
    width: int = 192
    hidden: int = 576
    depth: int = 4
    decoder_depth: int = 6
    kernel: int = 7
    dropout: float = 0.1
    floor: float = 1e-4

    hyperparameters = ("dropout",)

    def setup(self) -> None:
        """Create encoder, durations and decoder."""
        self.validate()
        self.embed = Embed(self.vocab, self.width, 1.0)
        self.voice = Embed(self.speakers, self.width, 1.0)
        block = TimeBlock(self.hidden, self.kernel, self.dropout, parent=None)
        self.encoder = [block.clone() for _ in range(self.depth)]
        self.encoder_norm, self.mean = LayerNorm(), Dense(self.bands)
        self.duration_block, self.duration = block.clone(), Dense(1)
        self.duration_norm, self.drop = LayerNorm(), Dropout(self.dropout)
        self.time = [Dense(self.width), Dense(self.width)]
        self.given = Dense(self.width)
        self.decoder = [TimeBlock(self.hidden, self.kernel) for _ in range(self.decoder_depth)]
        self.decoder_norm = LayerNorm()
        self.slope = Dense(self.bands, kernel_init=nn.initializers.zeros)

    def encode(
        self, tokens_BL: jax.Array, lengths_B: jax.Array, speakers_B: jax.Array, *, train: bool = False
    ) -> EncodedText:
        """Return the average frame of each token, and its duration.

        Args:
            tokens_BL: int32.
            lengths_B: int32, tokens of each row.
            speakers_B: int32, who speaks.
            train: apply dropout.
        """
        inside_BL, voice_BD = within(lengths_B, tokens_BL.shape[1]), self.voice(speakers_B)
        x_BLD = self.drop(self.embed(tokens_BL), deterministic=not train)
        for block in self.encoder:
            x_BLD = block(x_BLD, inside_BL, voice_BD, train=train)
        x_BLD = self.encoder_norm(x_BLD)
        h_BLD = self.duration_block(jax.lax.stop_gradient(x_BLD), inside_BL, voice_BD, train=train)
        return EncodedText(self.mean(x_BLD), self.duration(self.duration_norm(h_BLD))[..., 0])

    def spread(self, mean_BLM: jax.Array, durations_BL: jax.Array, frames: int) -> jax.Array:
        """Return the average of the token that each of `frames` frames belongs to, [B, T, M]."""
        return spread_over_frames(mean_BLM, durations_BL, frames)

    def velocity(
        self, x_BTM: jax.Array, mean_BTM: jax.Array, frames_B: jax.Array, times_B: jax.Array, speakers_B: jax.Array
    ) -> jax.Array:
        """Return the velocity at points x of the paths, [B, T, M].

        Args:
            x_BTM: between noise (time 0) and spectrogram (time 1).
            mean_BTM: the average frame of the token that each frame belongs to.
            frames_B: int32, frames of each row.
            times_B: from 0 to 1.
            speakers_B: int32, who speaks.
        """
        inside_BT = within(frames_B, x_BTM.shape[1])
        time_BD = sinusoids(times_B * TIME_SCALE, self.width).astype(x_BTM.dtype)
        condition_BD = jax.nn.silu(self.time[1](jax.nn.silu(self.time[0](time_BD))) + self.voice(speakers_B))
        x_BTD = self.given(jnp.concatenate([x_BTM, mean_BTM], -1))
        for block in self.decoder:
            x_BTD = block(x_BTD, inside_BT, condition_BD)
        return self.slope(self.decoder_norm(x_BTD))

    def __call__(
        self,
        tokens_BL: jax.Array,
        lengths_B: jax.Array,
        speakers_B: jax.Array,
        mel_BTM: jax.Array,
        frames_B: jax.Array,
        noise_BTM: jax.Array,
        times_B: jax.Array,
        *,
        train: bool = False,
    ) -> FlowOutputs:
        """Align texts with their spectrograms, and predict the velocity at one point of the path to each.

        Args:
            tokens_BL: int32.
            lengths_B: int32, tokens of each row.
            speakers_B: int32, who speaks.
            mel_BTM: normalised log-mel bands.
            frames_B: int32, frames of each row, at least as many as tokens; else the row is meaningless.
            noise_BTM: from N(0, 1), the beginning of the path.
            times_B: from 0 to 1.
            train: apply dropout; it needs an rng named "dropout" where `dropout` > 0.
        """
        text = self.encode(tokens_BL, lengths_B, speakers_B, train=train)
        scores_BLT = log_likelihoods(text.mean_BLM, mel_BTM)
        durations_BL = monotonic_alignment(scores_BLT, lengths_B, frames_B)
        mean_BTM = self.spread(text.mean_BLM, durations_BL, mel_BTM.shape[1])
        kept, times_B11 = 1 - self.floor, times_B[:, None, None]
        point_BTM = (1 - kept * times_B11) * noise_BTM + times_B11 * mel_BTM
        velocity_BTM = self.velocity(point_BTM.astype(mean_BTM.dtype), mean_BTM, frames_B, times_B, speakers_B)
        target_BTM = mel_BTM - kept * noise_BTM
        return FlowOutputs(mean_BTM, velocity_BTM, target_BTM, text.log_durations_BL, durations_BL)

    def validate(self) -> None:
        """Check the fields against each other.

        Raises:
            BadInput: one line that names the field and how to fix it.
        """
        super().validate()
        if self.kernel % 2 == 0:
            raise BadInput(f"model.kernel is {self.kernel}: it must be odd")
        if self.width % 2:
            raise BadInput(f"model.width is {self.width}: it must be even")


def log_likelihoods(mean_BLM: jax.Array, mel_BTM: jax.Array) -> jax.Array:
    """Return log N(frame t; mean of token l, 1) without its constant, float32 [B, L, T]."""
    mean_BLM, mel_BTM = mean_BLM.astype(jnp.float32), mel_BTM.astype(jnp.float32)
    products_BLT = jnp.einsum("blm,btm->blt", mean_BLM, mel_BTM)
    of_mean_BL1, of_mel_B1T = jnp.square(mean_BLM).sum(-1)[:, :, None], jnp.square(mel_BTM).sum(-1)[:, None]
    return products_BLT - 0.5 * (of_mean_BL1 + of_mel_B1T)
