"""A model whose dense layers and convolutions compute in 8-bit integers, with measured ranges of their inputs.

Jacob et al. 2018, arXiv:1712.05877, section 2, with steps that are symmetric about zero. What is between these
layers (norms, activations, attention, biases) is computed as before.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxlm.compress.weights import quantise_model
from jaxlm.data.protocol import Batch, Data
from jaxlm.errors import BadInput
from jaxlm.nn.conv import Conv
from jaxlm.nn.integer import LARGEST, find_kernel, integer_layers
from jaxlm.nn.linear import Dense
from jaxlm.nn.quantise import dequantise
from jaxlm.nn.taps import intercept_layers
from jaxlm.predict.load import LoadedModel

Ranges = dict[str, float]  # path of a kernel -> the largest magnitude that its layer's input had


def calibration_batches(model: LoadedModel, data: Data, count: int) -> list[Batch]:
    """Return the first training batches with the arrays that a model reads.

    Raises:
        BadInput: the batches have not all of these arrays.
    """
    names = model.predictor.examples[-1].keys()
    batches = [data[number] for number in range(count)]
    if missing := sorted(names - batches[0].keys()):
        raise BadInput(f"training batches have no {', '.join(missing)}, which the model reads: use --int8")
    return [{name: np.asarray(batch[name]) for name in names} for batch in batches]


def measure_ranges(model: LoadedModel, batches: Iterable[Batch]) -> Ranges:
    """Compute batches and return the largest magnitude of the input of each dense layer and convolution, by path.

    A layer whose kernel is not a matrix or a convolution's alone, as in scanned blocks, is left out.

    Raises:
        BadInput: an input that is not finite.
    """
    params, found = model.variables["params"], Ranges()

    def keep(name: str, largest: Any) -> None:
        found[name] = max(found.get(name, 0.0), float(largest))
        if not np.isfinite(largest):
            found[name] = float("nan")

    def visit(module: Dense | Conv, x: jax.Array, compute_layer: Callable[[], jax.Array]) -> jax.Array:
        kernel = find_kernel(params, module)
        if kernel is not None and kernel.ndim == (4 if isinstance(module, Conv) else 2):
            largest = jnp.abs(x.astype(jnp.float32)).max()
            jax.debug.callback(functools.partial(keep, "/".join((*module.path, "kernel"))), largest)
        return compute_layer()

    @jax.jit
    def compute(variables: Any, batch: Any) -> Any:
        with intercept_layers(visit, Dense, Conv):
            return model.predictor.apply(variables, batch)

    for batch in batches:
        jax.block_until_ready(compute(model.variables, batch))
    jax.effects_barrier()
    if broken := [name for name, largest in found.items() if not np.isfinite(largest)]:
        raise BadInput(f"the input of {broken[0]} is not finite in the training data: take an earlier checkpoint")
    return found


def quantise_static(model: LoadedModel, ranges: Ranges) -> LoadedModel:
    """Return a model whose weights have 8 bits, and whose layers with a range compute in integers.

    Law: the output of such a layer is that of `jaxlm.nn.integer`, exactly, whatever rows share the batch.

    Args:
        model: whole.
        ranges: of `measure_ranges`; they are kept with the weights, as the step of a layer's input.

    Raises:
        BadInput: there is no layer that can, the model writes texts, or see `quantise_model`.
    """
    if model.predictor.decoder is not None:
        raise BadInput("this model continues texts, whose caches are not computed in integers: use --int8")
    if not ranges:
        raise BadInput("this model has no dense layer or convolution that could compute in integers: use --int8")
    small, apply = quantise_model(model, 8), model.predictor.apply
    leaves = flatten_dict(small.variables["params"], sep="/")
    leaves |= {f"{path}/input_step": np.float32(largest / LARGEST) for path, largest in ranges.items()}

    def compute(variables: Any, batch: Any) -> Any:
        with integer_layers(variables["params"]):
            return apply(dequantise(variables), batch)

    variables = {**small.variables, "params": unflatten_dict(leaves, sep="/")}
    return LoadedModel(dataclasses.replace(model.predictor, apply=compute), variables)
