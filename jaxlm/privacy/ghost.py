"""Clip the gradients of single examples without computing those of large matrices (ghost norms).

The gradient of a kernel for one example is X' G, with the inputs X [N, D] of its layer in N places and the slopes
G [N, O] of the loss in its outputs. Its squared norm is the sum of (X X') * (G G'), [N, N] (Goodfellow 2015,
arXiv:1510.01799; Li et al. 2022, arXiv:2110.05679, section 4), and the sum of clipped gradients is one product of all
examples, with the slopes scaled down (Bu et al. 2023, arXiv:2210.00038). In a table of embeddings, X X' says which
tokens are equal.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxlm.metrics.mean import Metrics
from jaxlm.nn.embed import Embed
from jaxlm.nn.linear import Dense
from jaxlm.nn.taps import intercept_layers
from jaxlm.steps.gradient import GradFn, LossFn
from jaxlm.steps.model import PyTree
from jaxlm.steps.private import clip_of, example_keys, refuse_changed, repeat_example, squared_norm

_LossOfLeaves = Callable[[list[Any], PyTree, jax.Array], tuple[Metrics, PyTree]]


class Call(NamedTuple):
    """A call of a layer in the loss of one example, whose matrix is a parameter that nothing else reads.

    Attributes:
        leaf: number of the parameter among the leaves of all.
        output: shape and dtype of the layer's output, [..., O].
    """

    leaf: int
    output: jax.ShapeDtypeStruct


def clip_each_by_ghost_norms(loss: LossFn, clip_norm: float, *, copies: int = 1) -> GradFn:
    """Do what `steps.clip_each` does, in the memory of activations and not of one gradient for each example.

    Matrices of `Dense` and `Embed` layers are taken out where that saves memory (2 N^2 < D O) and where the matrix is a
    parameter, maybe in another dtype, that nothing else in the loss reads. All other parameters are clipped as
    `steps.clip_each` does, such as those of adapters and of layers that are recomputed in the backward pass.

    Law: it is `steps.clip_each`, to rounding, with the same draws.

    Args:
        loss: as there.
        clip_norm: as there.
        copies: as there.
    """

    def clipped(params: PyTree, variables: PyTree, batch: PyTree, key: jax.Array) -> tuple[PyTree, Metrics, PyTree]:
        leaves, structure = jax.tree.flatten(params)

        def run(leaves: list[Any], example: PyTree, key: jax.Array) -> tuple[Metrics, PyTree]:
            return loss(
                jax.tree.unflatten(structure, leaves), variables, repeat_example(example, copies), key, train=True
            )

        keys = example_keys(batch, key)
        example = jax.eval_shape(lambda: jax.tree.map(lambda x: x[0], (batch, keys)))
        calls = _ghosts(run, leaves, *example)
        ghosts = sorted({call.leaf for call in calls.values()})

        def one(example: PyTree, key: jax.Array) -> Any:
            found, slopes, inputs, metrics, changed = _differentiate(run, leaves, calls, example, key)
            refuse_changed(variables, changed)
            # Scaled in bfloat16, or rounded to it in one of their two uses and not in the other, they exceed the bound.
            slopes = jax.tree.map(lambda x: x.astype(jnp.float32), slopes)
            slopes, inputs = jax.lax.optimization_barrier((slopes, inputs))
            if copies > 1:
                found, slopes, metrics = jax.tree.map(lambda x: x / copies, (found, slopes, metrics))
            matrices = [_squared_norm(*_joined(calls, leaf, inputs, slopes)) for leaf in ghosts]
            squared = sum(matrices, start=squared_norm(found))
            (clip, scaled), (keep, _) = (clip_of(squared, bound, example) for bound in (clip_norm, jnp.inf))
            return clip(found), clip(slopes), keep(inputs), metrics | {"clipped": scaled}

        found, slopes, inputs, metrics = jax.vmap(one)(batch, keys)
        found, metrics = jax.tree.map(lambda x: x.sum(0), (found, metrics))
        found |= {leaf: _product(leaves[leaf], *_joined(calls, leaf, inputs, slopes)) for leaf in ghosts}
        return jax.tree.unflatten(structure, [found[leaf] for leaf in range(len(leaves))]), metrics, variables

    return clipped


def _differentiate(
    run: _LossOfLeaves, leaves: list[Any], calls: dict[int, Call], example: PyTree, key: jax.Array
) -> Any:
    """Differentiate the loss of one example in all parameters but matrices, and in the outputs of these.

    Returns:
        gradients by the number of a leaf; slopes and inputs by the number of a call; the metrics; the variables.
    """
    ghosts = {call.leaf for call in calls.values()}

    def total(others: dict[int, Any], taps: dict[int, jax.Array]) -> Any:
        inputs, count = {}, iter(range(1 << 20))

        def visit(layer: Dense | Embed, x: jax.Array, compute: Callable[[], jax.Array]) -> jax.Array:
            number = next(count)
            if number not in calls:
                return compute()
            inputs[number] = x
            return compute() + taps[number]

        with intercept_layers(visit, Dense, Embed):
            metrics, changed = run([others.get(leaf, x) for leaf, x in enumerate(leaves)], example, key)
        return metrics["loss"].total, (inputs, metrics, changed)

    others = {leaf: x for leaf, x in enumerate(leaves) if leaf not in ghosts}
    taps = {number: jnp.zeros(call.output.shape, call.output.dtype) for number, call in calls.items()}
    (found, slopes), (inputs, metrics, changed) = jax.grad(total, argnums=(0, 1), has_aux=True)(others, taps)
    return found, slopes, inputs, metrics, changed


def _ghosts(run: _LossOfLeaves, leaves: list[Any], example: PyTree, key: Any) -> dict[int, Call]:
    """Find the calls of layers whose gradient is better not computed, by tracing the loss without these layers."""
    outputs: list[jax.ShapeDtypeStruct] = []

    def record(leaves: list[Any], example: PyTree, key: jax.Array) -> Any:
        matrices = []

        def visit(layer: Dense | Embed, x: jax.Array, compute: Callable[[], jax.Array]) -> jax.Array:
            matrix: Any
            if isinstance(layer, Dense):
                matrix = layer.get_variable("params", "kernel")
                shape, dtype = (*x.shape[:-1], layer.features), jnp.result_type(x, matrix)
            else:
                matrix = layer.get_variable("params", "embedding")
                shape, dtype = (*x.shape, layer.width), matrix.dtype
            outputs.append(jax.ShapeDtypeStruct(shape, dtype))
            matrices.append(matrix)
            return jnp.zeros(shape, dtype)

        with intercept_layers(visit, Dense, Embed):
            return run(leaves, example, key), matrices

    traced, (rest, matrices) = jax.make_jaxpr(record, return_shape=True)(leaves, example, key)
    origin, elsewhere = _origins(traced.jaxpr, len(leaves), len(jax.tree.leaves(rest)))
    found = [origin.get(variable, -1) for variable in traced.jaxpr.outvars[-len(matrices) :]] if matrices else []
    places = [0] * len(leaves)
    for leaf, output in zip(found, outputs, strict=True):
        places[leaf] += output.size // output.shape[-1]
    saves = {leaf for leaf, x in enumerate(leaves) if 0 < 2 * places[leaf] ** 2 < x.size} - elsewhere
    return {number: Call(*call) for number, call in enumerate(zip(found, outputs, strict=True)) if call[0] in saves}


def _origins(jaxpr: Any, leaves: int, results: int) -> tuple[dict[Any, int], set[int]]:
    """Return which variables of a program are parameters, maybe in another dtype, and which of these it reads.

    Args:
        jaxpr: whose first inputs are the parameters.
        leaves: how many these are.
        results: how many of its first outputs count as reading.
    """
    origin = {variable: leaf for leaf, variable in enumerate(jaxpr.invars[:leaves])}
    elsewhere = {origin[x] for x in jaxpr.outvars[:results] if not hasattr(x, "val") and x in origin}
    for equation in jaxpr.eqns:
        read = [origin[x] for x in equation.invars if not hasattr(x, "val") and x in origin]
        if equation.primitive.name == "convert_element_type" and read:
            origin[equation.outvars[0]] = read[0]
        else:
            elsewhere.update(read)
    return origin, elsewhere


def _joined(
    calls: dict[int, Call], leaf: int, inputs: dict[int, jax.Array], slopes: dict[int, jax.Array]
) -> tuple[jax.Array, jax.Array]:
    """Return all inputs and slopes of a matrix, of as many examples as there are: [N, D], or [N] tokens, and [N, O]."""
    numbers = [number for number, call in calls.items() if call.leaf == leaf]
    flat = [inputs[number] for number in numbers]
    flat = [x.reshape(-1) if jnp.issubdtype(x.dtype, jnp.integer) else x.reshape(-1, x.shape[-1]) for x in flat]
    return jnp.concatenate(flat), jnp.concatenate([slopes[one].reshape(-1, slopes[one].shape[-1]) for one in numbers])


def _squared_norm(inputs: jax.Array, slopes: jax.Array) -> jax.Array:
    """Return the squared norm of X' G in float32, without X' G; the slopes are float32."""
    if inputs.ndim == 1:
        same = (inputs[:, None] == inputs[None]).astype(jnp.float32)
    else:
        inputs = inputs.astype(jnp.float32)
        same = jnp.dot(inputs, inputs.T, precision="highest")
    return (same * jnp.dot(slopes, slopes.T, precision="highest")).sum()


def _product(matrix: jax.Array, inputs: jax.Array, slopes: jax.Array) -> jax.Array:
    """Return X' G like the matrix."""
    if inputs.ndim == 1:
        return jnp.zeros_like(matrix).at[inputs].add(slopes.astype(matrix.dtype))
    return jnp.dot(inputs.T.astype(slopes.dtype), slopes, precision="highest").astype(matrix.dtype)
