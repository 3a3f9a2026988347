"""Two nets against each other: one makes images, one judges whether an image is real (generative adversarial networks).

Shapes: B batch, H height, W width, C channels, L tokens of a caption, Z width of the noise.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from jaxlm.errors import BadInput
from jaxlm.steps import LossFn, Mean, Metrics, Model, PyTree, typed_keys

Game = Literal["nonsaturating", "wasserstein", "hinge"]
Penalty = Literal["none", "r1", "gradient"]
POWER_STEPS = 8  # of the power iteration for a spectral norm


@dataclass(frozen=True)
class Adversarial:
    """Spec of the losses of a maker and a judge, the two halves of a model such as `jaxlm.models.gan.GAN`.

    The judge gives an image x a number J(x), high for a real one; the maker makes images m of noise.

    Attributes:
        game: what each half minimises.
            "nonsaturating": softplus(-J(x)) + softplus(J(m)), and softplus(-J(m)) (Goodfellow et al. 2014,
            arXiv:1406.2661, section 3).
            "wasserstein": J(m) - J(x), and -J(m) (Arjovsky et al. 2017, arXiv:1701.07875).
            "hinge": relu(1 - J(x)) + relu(1 + J(m)), and -J(m) (Lim & Ye 2017, arXiv:1705.02894).
        penalty: added to the judge's loss, times `weight`.
            "r1": the squared norm of the gradient of J at real images (Mescheder et al. 2018, arXiv:1801.04406,
            equation 9; `weight` is half of its gamma).
            "gradient": (norm of the gradient - 1)^2 between real and made images (Gulrajani et al. 2017,
            arXiv:1704.00028, equation 3).
        weight: of the penalty.
        spectral: divide each kernel of the judge by its largest singular value (`spectral_normalise`).
        drop: share of captions that are left out in training; 1 makes images of no caption.
        judgings: updates of the judge for one of the maker, each on its own part of the batch (5 in Gulrajani et al.,
            algorithm 1, whose batches are then 5 times larger).
    """

    game: Game = "nonsaturating"
    penalty: Penalty = "r1"
    weight: float = 1.0
    spectral: bool = False
    drop: float = 0.0
    judgings: int = 1

    def __post_init__(self) -> None:
        """Check the fields; raises BadInput."""
        for name, known in (("game", Game.__args__), ("penalty", Penalty.__args__)):  # type: ignore[attr-defined]
            if getattr(self, name) not in known:
                raise BadInput(f"loss.{name} is {getattr(self, name)!r}: it must be one of {', '.join(known)}")
        if not (math.isfinite(self.weight) and self.weight >= 0 and 0 <= self.drop <= 1):
            raise BadInput(f"loss is {self}: weight is a finite number of at least 0, drop a share from 0 to 1")
        if self.judgings < 1:
            raise BadInput(f"loss.judgings is {self.judgings}: give at least 1")

    def judging(self, model: Model) -> LossFn:
        """Return the judge's loss; it reads the maker's parameters as `variables["maker"]`."""
        return judge_loss(model, self)

    def making(self, model: Model) -> LossFn:
        """Return the maker's loss; it reads the judge's parameters as `variables["judge"]`."""
        return maker_loss(model, self)

    def prices(self, of_real_B: jax.Array, of_made_B: jax.Array) -> jax.Array:
        """Return the judge's loss of each pair of a real and a made image, without a penalty; float32 [B]."""
        if self.game == "nonsaturating":
            return jax.nn.softplus(-of_real_B) + jax.nn.softplus(of_made_B)
        if self.game == "wasserstein":
            return of_made_B - of_real_B
        return jax.nn.relu(1 - of_real_B) + jax.nn.relu(1 + of_made_B)

    def costs(self, of_made_B: jax.Array) -> jax.Array:
        """Return the maker's loss of each image that it made; float32 [B]."""
        return jax.nn.softplus(-of_made_B) if self.game == "nonsaturating" else -of_made_B


class GameDraws(NamedTuple):
    """What is drawn for each example.

    Attributes:
        noise_BZ: of the image that is made, from N(0, 1).
        share_B: of the real image in the point where a gradient is measured, from 0 to 1, uniform.
        chance_B: from 0 to 1, uniform; below `drop` the caption is left out.
    """

    noise_BZ: jax.Array
    share_B: jax.Array
    chance_B: jax.Array


def game_draws(keys_B2: jax.Array, latent: int, half: int) -> GameDraws:
    """Draw from the key of each example, uint32 [B, 2]; other noise for each half, and the same chance; all float32."""

    def draw(key: jax.Array) -> GameDraws:
        at_chance, at_share, at_noise = jax.random.split(key, 3)
        noise = jax.random.normal(jax.random.fold_in(at_noise, half), (latent,))
        return GameDraws(noise, jax.random.uniform(at_share), jax.random.uniform(at_chance))

    return jax.vmap(draw)(typed_keys(keys_B2))


def judge_loss(model: Any, spec: Adversarial) -> LossFn:
    """Return the loss of the judge, a mean over pairs of a real and a made image.

    The batch has "image" float32 (B, H, W, C), -1 to 1; "tokens" and "segments" int32 (B, L); "keys" uint32 (B, 2); and
    optional "mask" float32 (B,). All draws are from the keys of examples, so that they do not depend on batch,
    micro-batches or devices. Metrics are "loss" and "accuracy", the share of images, real and made, that are classified
    correctly. In an evaluation there is no penalty.

    Args:
        model: its `apply` has the methods "make" and "judge"; `latent` is Z.
        spec: see `Adversarial`.
    """

    def loss(
        params: PyTree, variables: PyTree, batch: PyTree, key: jax.Array, *, train: bool
    ) -> tuple[Metrics, PyTree]:
        del key
        drawn = game_draws(batch["keys"], model.latent, 0)
        caption = batch["tokens"], left_out(batch["segments"], drawn, spec, train)
        made_BHWC = model.apply({"params": variables["maker"]}, drawn.noise_BZ, *caption, method="make")
        judge = {"params": spectral_normalise(params) if spec.spectral else params}
        real_BHWC, made_BHWC = (x.astype(jnp.float32) for x in (batch["image"], made_BHWC))

        def opinion(image_BHWC: jax.Array) -> jax.Array:
            return model.apply(judge, image_BHWC, *caption, method="judge").astype(jnp.float32)

        of_real_B, of_made_B = opinion(real_BHWC), opinion(made_BHWC)
        loss_B = spec.prices(of_real_B, of_made_B)
        if train and spec.penalty != "none":
            share_B111 = drawn.share_B[:, None, None, None]
            between_BHWC = share_B111 * real_BHWC + (1 - share_B111) * made_BHWC
            at_BHWC = real_BHWC if spec.penalty == "r1" else between_BHWC
            slope_BHWC = jax.grad(lambda image_BHWC: opinion(image_BHWC).sum())(at_BHWC)  # rows do not mix
            squared_B = jnp.square(slope_BHWC).sum((1, 2, 3))
            away_B = squared_B if spec.penalty == "r1" else jnp.square(jnp.sqrt(squared_B + 1e-12) - 1)
            loss_B = loss_B + spec.weight * away_B
        mask_B = batch.get("mask", jnp.ones_like(loss_B))
        correct_B = ((of_real_B > 0) * 1.0 + (of_made_B < 0)) / 2
        return {"loss": Mean.from_values(loss_B, mask_B), "accuracy": Mean.from_values(correct_B, mask_B)}, variables

    return loss


def maker_loss(model: Any, spec: Adversarial) -> LossFn:
    """Return the loss of the maker, a mean over the images that it makes; arguments as for `judge_loss`."""

    def loss(
        params: PyTree, variables: PyTree, batch: PyTree, key: jax.Array, *, train: bool
    ) -> tuple[Metrics, PyTree]:
        del key
        drawn = game_draws(batch["keys"], model.latent, 1)
        caption = batch["tokens"], left_out(batch["segments"], drawn, spec, train)
        made_BHWC = model.apply({"params": params}, drawn.noise_BZ, *caption, method="make")
        judge = {"params": spectral_normalise(variables["judge"]) if spec.spectral else variables["judge"]}
        of_made_B = model.apply(judge, made_BHWC, *caption, method="judge").astype(jnp.float32)
        loss_B = spec.costs(of_made_B)
        return {"loss": Mean.from_values(loss_B, batch.get("mask", jnp.ones_like(loss_B)))}, variables

    return loss


def left_out(segments_BL: jax.Array, drawn: GameDraws, spec: Adversarial, train: bool) -> jax.Array:
    """Return the segments of captions, 0 where a caption is left out in training, or always where none is read."""
    if not train and spec.drop < 1:
        return segments_BL
    return jnp.where(drawn.chance_B[:, None] < spec.drop, 0, segments_BL)


def spectral_normalise(params: PyTree) -> PyTree:
    """Divide each kernel by its largest singular value, as a matrix of [inputs, outputs].

    Miyato et al. 2018, arXiv:1802.05957. The singular vectors come from a power iteration that starts again at each
    call, so there is no state to keep: kernels are small beside the activations. No gradient flows through the vectors.

    Law: a net of kernels divided so, with ReLUs, has a Lipschitz constant of about 1 in each dense layer.

    Args:
        params: nested dicts of arrays; those called "kernel" are divided.
    """

    def divide(path: Any, kernel: jax.Array) -> jax.Array:
        if path[-1].key != "kernel" or kernel.ndim < 2:
            return kernel
        matrix_IO = kernel.astype(jnp.float32).reshape(-1, kernel.shape[-1])

        def move(u_O: jax.Array, _: None) -> tuple[jax.Array, None]:
            v_I = _unit(matrix_IO @ u_O)
            return _unit(v_I @ matrix_IO), None

        start_O = _unit(jnp.cos(jnp.arange(matrix_IO.shape[1], dtype=jnp.float32)))
        u_O, _ = jax.lax.scan(move, start_O, None, POWER_STEPS)
        u_O = jax.lax.stop_gradient(u_O)
        v_I = jax.lax.stop_gradient(_unit(matrix_IO @ u_O))
        return (kernel.astype(jnp.float32) / (v_I @ matrix_IO @ u_O + 1e-12)).astype(kernel.dtype)

    return jax.tree_util.tree_map_with_path(divide, params)


def _unit(x: jax.Array) -> jax.Array:
    return x / (jnp.linalg.norm(x) + 1e-12)
