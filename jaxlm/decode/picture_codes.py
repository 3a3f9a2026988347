"""Make pictures of captions code by code, with guidance.

B batch, L tokens of a caption, N codes of an image, K codes of the book.
"""

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jaxlm.decode.sampling import sample_tokens
from jaxlm.errors import BadInput


@dataclass(frozen=True)
class PaintCodes:
    """Spec of how pictures are made by `jaxlm.models.dalle.DALLE`.

    Attributes:
        temperature: of the draws; 0 takes the most probable code.
        top_k: draw among the k most probable codes; None for all.
        guidance: how far the logits are moved from those without a caption: 1 is the model's own, 0 has no caption
            (Ho & Salimans 2022, arXiv:2207.12598, of logits instead of scores).
    """

    temperature: float = 1.0
    top_k: int | None = None
    guidance: float = 1.0

    def __post_init__(self) -> None:
        """Check the fields; raises BadInput."""
        for name in ("temperature", "guidance"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise BadInput(f"decode.{name} is {getattr(self, name)}: give a finite number of at least 0")
        if self.top_k is not None and self.top_k < 1:
            raise BadInput(f"decode.top_k is {self.top_k}: give at least 1")

    def __call__(
        self, model: Any, variables: Any, tokens_BL: jax.Array, segments_BL: jax.Array, keys_B: jax.Array
    ) -> jax.Array:
        """Make pictures, [B, H, W, C], about -1 to 1.

        Laws: a picture depends on its own row and key alone; its codes are drawn from the product of the model's
        conditional probabilities where temperature and guidance are 1.

        Args:
            model: a `DALLE`.
            variables: of the model.
            tokens_BL: int32.
            segments_BL: int32, 1 on tokens and 0 on padding; a row of padding has no caption.
            keys_B: typed PRNG keys, one a row.
        """
        codes_BN = self.sample(model, variables, model.words(tokens_BL, segments_BL), keys_B)
        return model.apply(variables, codes_BN, method="picture")

    def sample(self, model: Any, variables: Any, words_BL: jax.Array, keys_B: jax.Array) -> jax.Array:
        """Draw the codes of pictures of captions in the transformer's tokens, int32 [B, N]."""
        guided = self.guidance != 1
        rows_RL = jnp.concatenate([words_BL, jnp.full_like(words_BL, model.vocab)]) if guided else words_BL
        dtype = jnp.result_type(*jax.tree.leaves(variables["params"]))
        cache = model.transformer.init_cache(rows_RL.shape[0], words_BL.shape[1] + model.pictures.length, dtype)
        advance = partial(model.apply, variables, method="advance")

        def draw(logits_RK: jax.Array, number: jax.Array) -> jax.Array:
            logits_BK = logits_RK.astype(jnp.float32)
            if guided:
                given_BK, free_BK = jnp.split(logits_BK, 2)
                logits_BK = free_BK + self.guidance * (given_BK - free_BK)
            step_keys_B = jax.vmap(jax.random.fold_in, (0, None))(keys_B, number)
            return sample_tokens(logits_BK, step_keys_B, temperature=self.temperature, top_k=self.top_k)

        def move(carry: tuple[jax.Array, Any], number: jax.Array) -> tuple[tuple[jax.Array, Any], jax.Array]:
            logits_RK, cache = carry
            codes_B = draw(logits_RK, number)
            again_R = jnp.concatenate([codes_B, codes_B]) if guided else codes_B
            return advance((model.vocab + 1 + again_R)[:, None], cache=cache), codes_B

        start = advance(rows_RL, cache=cache)
        _, codes_NB = jax.lax.scan(move, start, jnp.arange(model.pictures.length))
        return codes_NB.T
