"""Private gradients (DP-SGD): every example's gradient is clipped, and noise hides whose gradients were summed.

Abadi et al. 2016, arXiv:1607.00133, algorithm 1, as two transforms, so that sums of clipped gradients cross
micro-batches and devices and the noise is added once:

    add_noise(place.reduce(accumulate(clip_each(loss, clip_norm), k)), std, expected)
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxlm.errors import BadInput
from jaxlm.metrics.mean import Mean, Metrics
from jaxlm.steps.gradient import GradFn, LossFn, grad
from jaxlm.steps.keys import typed_keys
from jaxlm.steps.model import PyTree

NOISE = 0x6E6F6973  # separates the draws of the noise from those of the loss, which have the key of the same update
LOSS = 0x6C6F7373  # and those of a loss from those of augmentation, which have the key of the same example


def clip_each(loss: LossFn, clip_norm: float, *, copies: int = 1) -> GradFn:
    """Sum the gradients of single examples, each scaled down to a global L2 norm of at most `clip_norm`.

    The gradients of single examples are in memory together, (B, parameters): `accumulate` around this bounds them to
    those of a micro-batch. An example whose gradient is not finite, or whose "mask" is 0, adds nothing, so that the sum
    moves by at most `clip_norm` when an example is added or removed. An example draws from its own entry of "keys"
    where the batch has them, and then neither micro-batches nor devices change its draws.

    The metrics are those of the loss, and "clipped": the share of the examples whose gradient was scaled down.

    Law: with an infinite `clip_norm` it is `grad`, to rounding, for a loss that draws nothing.

    Args:
        loss: the loss of a batch; it is called with one example at a time.
        clip_norm: the bound C.
        copies: how many copies of an example are in its gradient, as their mean before the clip, each with "keys" of
            its own (augmentation multiplicity, De et al. 2022, arXiv:2204.13650, section 3.2).

    Raises:
        BadInput: the loss changes a variable, as batch normalisation does, which mixes examples (when the step is
            traced).
    """
    summed = grad(loss)

    def clipped(params: PyTree, variables: PyTree, batch: PyTree, key: jax.Array) -> tuple[PyTree, Metrics, PyTree]:
        def one(example: PyTree, key: jax.Array) -> tuple[PyTree, Metrics]:
            grads, metrics, changed = summed(params, variables, repeat_example(example, copies), key)
            refuse_changed(variables, changed)
            grads, metrics = jax.tree.map(lambda x: x / copies, (grads, metrics)) if copies > 1 else (grads, metrics)
            clip, scaled = clip_of(squared_norm(grads), clip_norm, example)
            return clip(grads), metrics | {"clipped": scaled}

        found = jax.vmap(one)(batch, example_keys(batch, key))
        grads, metrics = jax.tree.map(lambda x: x.sum(0), found)
        return grads, metrics, variables

    return clipped


def repeat_example(example: PyTree, copies: int) -> PyTree:
    """Return an example as a batch of `copies` rows, with other "keys" in each where there are several."""
    batch = jax.tree.map(lambda x: jnp.broadcast_to(x, (copies, *x.shape)), example)
    if copies > 1 and "keys" in example:
        keys = jax.random.split(typed_keys(example["keys"]), copies)
        batch = batch | {"keys": jax.random.key_data(keys)}
    return batch


def example_keys(batch: PyTree, key: jax.Array) -> jax.Array:
    """Return the key that each example's loss draws from, [B]."""
    size = jax.tree.leaves(batch)[0].shape[0]
    if "keys" not in batch:
        return jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(size))
    return jax.vmap(jax.random.fold_in, (0, None))(typed_keys(batch["keys"]), LOSS)


def squared_norm(grads: PyTree) -> jax.Array:
    """Sum the squares of all numbers of a gradient, in float32."""
    return sum((jnp.square(x.astype(jnp.float32)).sum() for x in jax.tree.leaves(grads)), start=jnp.zeros(()))


def clip_of(squared: jax.Array, clip_norm: float, example: PyTree) -> tuple[Callable[[PyTree], PyTree], Mean]:
    """Return what scales the gradient of an example down to `clip_norm`, and whether it has to.

    Args:
        squared: the square of the gradient's norm.
        clip_norm: the bound.
        example: whose "mask" may be 0; what is scaled is then zero, as it is where the norm is not finite.
    """
    norm = jnp.sqrt(squared)
    counts = example["mask"] > 0 if "mask" in example else jnp.ones((), bool)
    adds = counts & jnp.isfinite(norm)
    factor = jnp.minimum(1.0, clip_norm / jnp.where(norm > 0, norm, 1))
    weight = counts.astype(jnp.float32)

    def clip(grads: PyTree) -> PyTree:
        return jax.tree.map(lambda x: jnp.where(adds, x * factor.astype(x.dtype), 0), grads)

    return clip, Mean(weight * ((factor < 1) | ~adds), weight)


def refuse_changed(variables: PyTree, changed: PyTree) -> None:
    """Raise BadInput where a loss has changed a variable, which then depends on all examples of a batch."""
    given = {id(x) for x in jax.tree.leaves(variables)}  # traced arrays: one object is one value
    for path, x in jax.tree_util.tree_leaves_with_path(changed):
        if id(x) not in given:
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            raise BadInput(
                f"a private gradient needs examples that do not mix, and the model updates {name} from all of a "
                "batch: take a model without batch normalisation, such as --model.norm group"
            )


def add_noise(grad: GradFn, std: float, expected: float) -> GradFn:
    """Add Gaussian noise to a summed gradient, once, and let it be divided by the expected size of a batch.

    The noise is drawn from the key of the update, so it is the same under every placement. The loss stays the mean of
    the batch, and its weight becomes `expected`: the size of a batch that was sampled is private, and a batch without
    examples is an update like any other.

    Law: for `std` 0 and batches of the weight `expected` it is `grad`.

    Args:
        grad: gradients as sums of bounded gradients, over all micro-batches and devices (`place.reduce`).
        std: standard deviation of the noise in every coordinate of the sum: noise multiplier times `clip_norm`.
        expected: the expected size of a batch, by which `steps.update` divides.
    """

    def noisy(params: PyTree, variables: PyTree, batch: PyTree, key: jax.Array) -> tuple[PyTree, Metrics, PyTree]:
        grads, metrics, variables = grad(params, variables, batch, key)
        total, weight = metrics["loss"]
        mean = jnp.where(weight == 0, 0, total / jnp.where(weight == 0, 1, weight))
        metrics = metrics | {"loss": Mean(mean * expected, jnp.float32(expected))}
        return (_noised(grads, std, jax.random.fold_in(key, NOISE)) if std else grads), metrics, variables

    return noisy


def _noised(grads: PyTree, std: float, key: jax.Array) -> PyTree:
    leaves, structure = jax.tree.flatten(grads)
    keys = jax.random.split(key, len(leaves))
    draws: list[Any] = [x + std * jax.random.normal(key, x.shape, x.dtype) for x, key in zip(leaves, keys, strict=True)]
    return jax.tree.unflatten(structure, draws)
