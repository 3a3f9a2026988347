"""Make pictures of captions: the path from noise to an image, step by step, with guidance.

B batch, H height, W width, C channels, L tokens of a caption.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp

from jaxlm.errors import BadInput
from jaxlm.steps import Model

MOST_STEPS = 10_000


@dataclass(frozen=True)
class Paint:
    """Spec of how pictures are made by a model such as `jaxlm.models.dit.DiT`.

    Attributes:
        method: "euler" has one evaluation of the model a step (on the cosine path this is DDIM), "heun" two, and an
            error of second order.
        steps: from noise to image.
        guidance: how far the derivative is moved from that without a caption: 1 is the model's own, 0 has no caption
            (Ho & Salimans 2022, arXiv:2207.12598, equation 6, with w = guidance - 1).
    """

    method: Literal["euler", "heun"] = "heun"
    steps: int = 20
    guidance: float = 2.0

    def __post_init__(self) -> None:
        """Check the fields; raises BadInput."""
        if self.method not in ("euler", "heun"):
            raise BadInput(f"decode.method is {self.method!r}: it must be euler or heun")
        check_painting(self.steps, self.guidance)

    def __call__(
        self,
        model: Model,
        path: Callable[[jax.Array], Any],
        variables: Any,
        tokens_BL: jax.Array,
        segments_BL: jax.Array,
        noise_BHWC: jax.Array,
        steps_B: jax.Array,
        guidance_B: jax.Array,
    ) -> jax.Array:
        """Make pictures, float32 [B, H, W, C], about -1 to 1.

        Laws: a picture depends on its own row alone; with the exact derivative of a distribution, noise becomes that
        distribution as steps grow; guidance 1 is the model without guidance.

        A step is exact where the image that the derivative points to, and the noise, do not change (Song et al. 2021,
        DDIM, arXiv:2010.02502, equation 12 with eta = 0); "heun" takes the mean of both ends of a step.

        Args:
            model: its `apply` has the methods "encode" and "velocity".
            path: times -> `losses.flow_matching.PathPoint`, that of the loss.
            variables: of the model.
            tokens_BL: int32.
            segments_BL: int32, 1 on tokens and 0 on padding; a row of padding has no caption.
            noise_BHWC: from N(0, 1), the beginning of the path.
            steps_B: int32, steps of each row.
            guidance_B: float32, guidance of each row.
        """
        both = jnp.concatenate([segments_BL, jnp.zeros_like(segments_BL)])
        caption_2BD = model.apply(variables, jnp.concatenate([tokens_BL, tokens_BL]), both, method="encode")
        beyond_B111 = (guidance_B - 1)[:, None, None, None]

        def ends(point_BHWC: jax.Array, times_B: jax.Array) -> tuple[jax.Array, jax.Array]:
            """Return the image and the noise that the path leads between."""
            twice = jnp.concatenate([point_BHWC, point_BHWC]), jnp.concatenate([times_B, times_B])
            slopes = model.apply(variables, *twice, caption_2BD, method="velocity").astype(jnp.float32)
            given, free = jnp.split(slopes, 2)
            slope_BHWC = given + beyond_B111 * (given - free)
            at = path(times_B[:, None, None, None])
            image_BHWC = at.noise * slope_BHWC - at.noise_slope * point_BHWC
            return image_BHWC, at.image_slope * point_BHWC - at.image * slope_BHWC

        def move(step: jax.Array, point_BHWC: jax.Array) -> jax.Array:
            now_B, next_B = (jnp.minimum((step + k) / jnp.maximum(steps_B, 1), 1.0) for k in (0, 1))
            at, to = (path(times_B[:, None, None, None]) for times_B in (now_B, next_B))
            image_BHWC, e_BHWC = ends(point_BHWC, now_B)
            moved_BHWC = point_BHWC + (to.image - at.image) * image_BHWC + (to.noise - at.noise) * e_BHWC
            if self.method == "euler":
                return moved_BHWC
            image_2, e_2 = ends(moved_BHWC, next_B)
            image_BHWC, e_BHWC = (image_BHWC + image_2) / 2, (e_BHWC + e_2) / 2
            return point_BHWC + (to.image - at.image) * image_BHWC + (to.noise - at.noise) * e_BHWC

        return jax.lax.fori_loop(0, steps_B.max(), move, noise_BHWC)


def check_painting(steps: int, guidance: float) -> None:
    """Raise BadInput for steps and guidance that cannot be."""
    if not 1 <= steps <= MOST_STEPS:
        raise BadInput(f"steps is {steps}: give 1 to {MOST_STEPS:,}")
    if not (math.isfinite(guidance) and guidance >= 0):
        raise BadInput(f"guidance is {guidance}: give a finite number of at least 0")
