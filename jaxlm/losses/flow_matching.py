"""From noise to images given captions: flow matching on straight paths, and diffusion with its targets of velocity.

Shapes: B batch, H height, W width, C channels, L tokens of a caption.
"""

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from jaxlm.errors import BadInput
from jaxlm.steps import LossFn, Mean, Metrics, Model, PyTree, typed_keys

PathName = Literal["straight", "cosine"]


class PathPoint(NamedTuple):
    """A point of a path `image * x + noise * e` and its derivative `image_slope * x + noise_slope * e`.

    Law: image * noise_slope - noise * image_slope is -1, so x and e follow from point and derivative.

    Attributes:
        image, noise: what image x and noise e are multiplied by.
        image_slope, noise_slope: the same in the derivative.
    """

    image: jax.Array
    noise: jax.Array
    image_slope: jax.Array
    noise_slope: jax.Array


def straight_path(times: jax.Array) -> PathPoint:
    """Return the straight path from noise at time 0 to the image at time 1, and its derivative by the time.

    Lipman et al. 2023, arXiv:2210.02747, equation 20 with sigma_min = 0; Liu et al. 2023, arXiv:2209.03003, equation 1.
    """
    one = jnp.ones_like(times)
    return PathPoint(times, 1 - times, one, -one)


def cosine_path(times: jax.Array) -> PathPoint:
    """Return the path of diffusion with a cosine schedule, and its derivative by the angle, time * pi / 2.

    The derivative is the negative of v in Salimans & Ho 2022, arXiv:2202.00512, section 4, whose time runs backwards.
    """
    angle = times * (math.pi / 2)
    return PathPoint(jnp.sin(angle), jnp.cos(angle), jnp.cos(angle), -jnp.sin(angle))


@dataclass(frozen=True)
class FlowMatching:
    """Spec of the loss of a model such as `jaxlm.models.dit.DiT`; call it with the model to get the loss.

    Attributes:
        path: from noise to an image: "straight" is flow matching, "cosine" diffusion with targets of velocity.
        drop: the share of captions that are left out in training, so that the null condition is learned.
    """

    path: PathName = "straight"
    drop: float = 0.1

    hyperparameters = ("drop",)

    def at(self, times: jax.Array) -> PathPoint:
        """Return the path at times from 0 to 1."""
        return straight_path(times) if self.path == "straight" else cosine_path(times)

    def __call__(self, model: Model) -> LossFn:
        """Return the loss.

        Raises:
            BadInput: `drop` is not a share, or there is no such path.
        """
        if self.path not in ("straight", "cosine"):
            raise BadInput(f"loss.path is {self.path!r}: it must be straight or cosine")
        if not isinstance(self.drop, jax.Array) and not 0 <= self.drop <= 1:
            raise BadInput(f"loss.drop is {self.drop}: give a share from 0 to 1")
        return flow_matching(model, self)


def flow_matching(model: Model, spec: FlowMatching) -> LossFn:
    """Return the squared error of the derivative at one random point of the path to each image, averaged over pixels.

    The batch has "image" float32 (B, H, W, C), about -1 to 1; "tokens" and "segments" int32 (B, L); "keys" uint32
    (B, 2); and optional "mask" float32 (B,). Time, noise and whether a caption is left out are drawn from the key of
    each example, so that they do not depend on batch, micro-batches or devices. The only metric is "loss".

    Args:
        model: called with images, times, tokens and segments.
        spec: see `FlowMatching`.
    """

    def loss(
        params: PyTree, variables: PyTree, batch: PyTree, key: jax.Array, *, train: bool
    ) -> tuple[Metrics, PyTree]:
        image_BHWC, segments_BL = batch["image"], batch["segments"]
        drawn = path_draws(batch["keys"], image_BHWC.shape[1:])
        at = spec.at(drawn.times_B[:, None, None, None])
        point_BHWC = at.image * image_BHWC + at.noise * drawn.noise_BHWC
        target_BHWC = at.image_slope * image_BHWC + at.noise_slope * drawn.noise_BHWC
        if train:
            segments_BL = jnp.where(drawn.chance_B[:, None] < spec.drop, 0, segments_BL)
        inputs = point_BHWC, drawn.times_B, batch["tokens"], segments_BL
        rngs = {"dropout": key} if train else None
        found_BHWC = model.apply({"params": params, **variables}, *inputs, train=train, rngs=rngs)
        error_B = jnp.square(found_BHWC.astype(jnp.float32) - target_BHWC).mean((1, 2, 3))
        return {"loss": Mean.from_values(error_B, batch.get("mask", jnp.ones_like(error_B)))}, variables

    return loss


def in_latents(loss: LossFn, model: Model) -> LossFn:
    """Let a loss of images see their latents in the place of the images.

    Law: the loss of a batch is that of its latents; nothing is learned through them.

    Args:
        loss: reads "image".
        model: its `apply` has the method "latents", such as `jaxlm.models.latent_diffusion.LatentDiffusion`.
    """

    def of_latents(
        params: PyTree, variables: PyTree, batch: PyTree, key: jax.Array, *, train: bool
    ) -> tuple[Metrics, PyTree]:
        latents = model.apply({"params": params, **variables}, batch["image"], method="latents")
        return loss(params, variables, batch | {"image": jax.lax.stop_gradient(latents)}, key, train=train)

    return of_latents


class PathDraws(NamedTuple):
    """What is drawn for each example.

    Attributes:
        times_B: from 0 to 1, uniform.
        noise_BHWC: from N(0, 1).
        chance_B: from 0 to 1, uniform; below `drop` the caption is left out.
    """

    times_B: jax.Array
    noise_BHWC: jax.Array
    chance_B: jax.Array


def path_draws(keys_B2: jax.Array, shape: tuple[int, ...]) -> PathDraws:
    """Draw time, noise of a shape and chance from the key of each example, uint32 [B, 2]; all float32."""

    def draw(key: jax.Array) -> PathDraws:
        at_time, at_noise, at_chance = jax.random.split(key, 3)
        noise = jax.random.normal(at_noise, shape)
        return PathDraws(jax.random.uniform(at_time), noise, jax.random.uniform(at_chance))

    return jax.vmap(draw)(typed_keys(keys_B2))
