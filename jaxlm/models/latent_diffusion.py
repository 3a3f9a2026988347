"""Diffusion in the latents of an autoencoder (Rombach et al. 2022, arXiv:2112.10752).

B batch, H height, W width, C channels, E width of a latent, L tokens of a caption, D width of the model.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlm.errors import BadInput
from jaxlm.models.bert import BERT
from jaxlm.models.dit import DiT
from jaxlm.models.vq_vae import VQVAE
from jaxlm.nn.module import Module


class LatentDiffusion(Module):
    """Predict how the latents of an image move on their way from noise, given the time and a caption.

    A latent is the vector that the autoencoder finds at a place of its grid, before it becomes a code, with mean 0 and
    variance 1 in each channel: the collection "latents" has the mean and the deviation over the training images
    (`latent_statistics`). Latents that are painted become the nearest codes on their way back (section 3.1, "VQ-reg").

    Laws: no gradient reaches the autoencoder from latents; `picture(latents(x))` is what the autoencoder makes of x.

    Attributes:
        pictures: the autoencoder, trained before (`experiments/image_codes.py`) and not trained here.
        painter: moves latents; its `patch` divides the grid of the autoencoder.
    """

    pictures: VQVAE
    painter: DiT

    @property
    def encoder(self) -> BERT:
        """What reads captions."""
        return self.painter.encoder

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, C) of an image."""
        return self.pictures.shape

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(height, width, E) of the latents of an image."""
        return (*self.pictures.grid, self.pictures.code_width)

    @property
    def multiple(self) -> int:
        """What height and width of an image must be multiples of."""
        return self.pictures.multiple * self.painter.patch

    def setup(self) -> None:
        """Create the statistics of latents."""
        self.validate()
        shape = (self.pictures.code_width,)
        self.mean = self.variable("latents", "mean", jnp.zeros, shape, jnp.float32)
        self.deviation = self.variable("latents", "deviation", jnp.ones, shape, jnp.float32)

    def latents(self, image_BHWC: jax.Array) -> jax.Array:
        """Return the latents of images, float32 [B, height, width, E]."""
        found = self.pictures.encode(image_BHWC).reshape(-1, *self.latent_shape)
        mean, deviation = (x.value[None, None, None] for x in (self.mean, self.deviation))
        return jax.lax.stop_gradient((found - mean) / deviation)

    def picture(self, latents_BHWE: jax.Array) -> jax.Array:
        """Return the images of latents, [B, H, W, C], about -1 to 1."""
        mean, deviation = (x.value[None, None, None] for x in (self.mean, self.deviation))
        vectors_BNE = (latents_BHWE * deviation + mean).reshape(-1, self.pictures.length, self.pictures.code_width)
        return self.pictures.picture(self.pictures.nearest(vectors_BNE))

    def encode(self, tokens_BL: jax.Array, segments_BL: jax.Array, *, train: bool = False) -> jax.Array:
        """Return the vector of each caption, [B, D]; see `DiT.encode`."""
        return self.painter.encode(tokens_BL, segments_BL, train=train)

    def velocity(self, latents_BHWE: jax.Array, times_B: jax.Array, caption_BD: jax.Array) -> jax.Array:
        """Return the derivative at points of the paths of latents; see `DiT.velocity`."""
        return self.painter.velocity(latents_BHWE, times_B, caption_BD)

    def __call__(
        self,
        latents_BHWE: jax.Array,
        times_B: jax.Array,
        tokens_BL: jax.Array,
        segments_BL: jax.Array,
        *,
        train: bool = False,
    ) -> jax.Array:
        """Return `velocity` for captions; see `DiT`."""
        if self.is_initializing():
            self.pictures(jnp.zeros((1, *self.shape)))  # the autoencoder has parameters, too
        return self.painter(latents_BHWE, times_B, tokens_BL, segments_BL, train=train)

    def validate(self) -> None:
        """Check the fields against each other.

        Raises:
            BadInput: one line that names the fields and how to fix them.
        """
        super().validate()
        if any(side % self.painter.patch for side in self.pictures.grid):
            raise BadInput(
                f"model.painter.patch is {self.painter.patch}: it must divide {list(self.pictures.grid)}, the grid of "
                "the autoencoder"
            )


def latent_statistics(model: LatentDiffusion, params: Any, images: Any, batch: int = 256) -> dict[str, np.ndarray]:
    """Measure mean and deviation of each channel of the autoencoder's vectors, {"mean", "deviation"}, float32 [E].

    Args:
        model: whose `pictures` is the autoencoder.
        params: of the autoencoder.
        images: float32 [N, H, W, C], about -1 to 1.
        batch: images in a call.
    """
    encode = jax.jit(partial(model.pictures.apply, {"params": params}, method="encode"))
    parts = [np.asarray(encode(images[at : at + batch]), np.float64) for at in range(0, len(images), batch)]
    found = np.concatenate(parts).reshape(-1, model.pictures.code_width)
    measured = {"mean": found.mean(0), "deviation": np.maximum(found.std(0), 1e-6)}
    return {name: x.astype(np.float32) for name, x in measured.items()}
