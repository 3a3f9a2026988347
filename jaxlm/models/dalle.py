"""A transformer over the words of a caption and the codes of its image.

B batch, H height, W width, C channels, L tokens of a caption, N codes of an image, K codes of the book, V words.
"""

from typing import Any

import jax
import jax.numpy as jnp

from jaxlm.errors import BadInput
from jaxlm.models.gpt import GPT
from jaxlm.models.vq_vae import VQVAE
from jaxlm.nn.attention import Cache
from jaxlm.nn.module import Module


class DALLE(Module):
    """Predict the codes of an image one after another, given its caption (Ramesh et al. 2021, arXiv:2102.12092).

    A row is L places of a caption and then N codes. The transformer's vocabulary is V words, one token for a place
    without a word, and K codes. A caption is always L places, so that no code depends on how it was padded.

    Law: the logits of a code depend on the caption and on earlier codes alone.

    Attributes:
        pictures: the autoencoder, trained before (`experiments/image_codes.py`) and not trained here.
        transformer: its `vocab` is V + 1 + K, its `context` at least L + N - 1.
    """

    pictures: VQVAE
    transformer: GPT

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, C) of an image."""
        return self.pictures.shape

    @property
    def multiple(self) -> int:
        """What height and width of an image must be multiples of."""
        return self.pictures.multiple

    @property
    def vocab(self) -> int:
        """V."""
        return self.transformer.vocab - self.pictures.book - 1

    @property
    def context(self) -> int:
        """The longest L."""
        return self.transformer.context - self.pictures.length + 1

    def words(self, tokens_BL: jax.Array, segments_BL: jax.Array) -> jax.Array:
        """Return the tokens of the transformer for captions, int32 [B, L]; segments are 0 where there is no word."""
        return jnp.where(segments_BL == 0, self.vocab, tokens_BL)

    def __call__(
        self, image_BHWC: jax.Array, tokens_BL: jax.Array, segments_BL: jax.Array, *, train: bool = False
    ) -> tuple[jax.Array, jax.Array]:
        """Return the logits of each code given those before it, [B, N, K], and the codes, int32 [B, N]."""
        codes_BN = self.pictures.codes(image_BHWC)
        if self.is_initializing():
            self.pictures.picture(codes_BN)  # the decoder has parameters, too
        tokens_BT = jnp.concatenate([self.words(tokens_BL, segments_BL), self.vocab + 1 + codes_BN[:, :-1]], 1)
        logits_BTV: Any = self.transformer(tokens_BT, train=train)
        return logits_BTV[:, tokens_BL.shape[1] - 1 :, self.vocab + 1 :], codes_BN

    def advance(self, tokens_BT: jax.Array, *, cache: Cache) -> tuple[jax.Array, Cache]:
        """Return the logits of the next code, [B, K], and the cache with these tokens added."""
        logits_BTV, cache = self.transformer(tokens_BT, cache=cache)
        return logits_BTV[:, -1, self.vocab + 1 :], cache

    def picture(self, codes_BN: jax.Array) -> jax.Array:
        """Return the images of codes, [B, H, W, C]."""
        return self.pictures.picture(codes_BN)

    def validate(self) -> None:
        """Check the fields against each other.

        Raises:
            BadInput: one line that names the fields and how to fix them.
        """
        super().validate()
        if self.vocab < 1 or self.context < 1:
            raise BadInput(
                f"model.transformer has vocab {self.transformer.vocab} and context {self.transformer.context}: it must "
                f"hold the words, 1 and the {self.pictures.book} codes of the book, and a caption and "
                f"{self.pictures.length} codes of an image"
            )
