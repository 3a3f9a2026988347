"""Low-rank adapters (LoRA, DoRA): a small trained change of a large frozen tree of parameters.

L stacked layers (an axis of a scanned kernel, or none), I inputs, O outputs, R rank.
"""

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxlm.errors import BadInput
from jaxlm.nn.module import Params

A, B, MAGNITUDE = "lora_a", "lora_b", "scale"  # "scale", so that no optimizer decays it


@dataclass(frozen=True)
class LoRA:
    """Spec of low-rank adapters: a kernel W [I, O] becomes W + (alpha / rank) A B.

    Hu et al. 2021 (arXiv:2106.09685), section 4.1, with A [I, R] and B [R, O]. B starts at zero, so a new adapter
    changes nothing. With `dora` each output's column also gets a trained length m, m (W + (alpha / rank) A B) / |W +
    (alpha / rank) A B|, and the gradient treats the lengths in the denominator as constants (Liu et al. 2024,
    arXiv:2402.09353, equation 5 and section 4.3).

    Adapters are a separate tree: at the path of each adapted kernel {"lora_a", "lora_b"} and, with `dora`, the length
    "scale" [O]; at the path of each parameter that is trained in full, the parameter. The change is made to the
    weights, so it works for any model. The price: the gradient of an adapted kernel is computed whole before it is
    projected. Optimizer state and adapters are small, but a step takes about the compute of full training.

    Attributes:
        rank: R; 0 adapts nothing.
        alpha: strength of the change, independent of the rank.
        pattern: regular expression searched for in the "/"-joined paths of parameters: which ones are adapted.
        dora: train the length of each column as well.
        full: regular expression for the paths of parameters that are trained in full, such as a new head ("^head/").
        layouts: (pattern, one letter for each axis) of kernels that are not [inputs..., output]: l is an axis of
            stacked layers, i of inputs, o of outputs, in this order. The first pattern found in a path decides.
    """

    rank: int = 8
    alpha: float = 16.0
    pattern: str = r"(attention|feed_forward)/.*kernel$"
    dora: bool = False
    full: str = ""
    layouts: tuple[tuple[str, str], ...] = (("^blocks/", "lio"),)

    def __post_init__(self) -> None:
        """Check the numbers; raises BadInput."""
        if self.rank < 0:
            raise BadInput(f"lora.rank is {self.rank}: it must be 0 or more")
        if not 0 < self.alpha < math.inf:
            raise BadInput(f"lora.alpha is {self.alpha}: it must be a finite number above 0")

    def init(self, key: jax.Array, params: Params) -> Params:
        """Draw new adapters for parameters; they change nothing yet. A is uniform within 1 / sqrt(I).

        Raises:
            BadInput: an invalid pattern, a pattern that finds no parameter, or a layout that does not fit its kernel.
        """
        adapters = flatten_dict(self.derive(params), sep="/")
        adapted = {path: leaf for path, leaf in flatten_dict(params, sep="/").items() if self.adapts(path)}
        if self.rank and not adapted:
            raise BadInput(f"lora.pattern {self.pattern!r} finds none of the parameters: see their paths in jaxlm info")
        for number, (path, leaf) in enumerate(sorted(adapted.items())):
            stack, inputs, outputs = self._sizes(path, leaf.shape)
            draw = jax.random.fold_in(key, number)
            bound = inputs**-0.5
            adapters[f"{path}/{A}"] = jax.random.uniform(draw, (*stack, inputs, self.rank), leaf.dtype, -bound, bound)
            adapters[f"{path}/{B}"] = jnp.zeros((*stack, self.rank, outputs), leaf.dtype)
        return unflatten_dict(adapters, sep="/")

    def derive(self, params: Params, frozen: Params | None = None) -> Params:
        """Return what new adapters take from the parameters: those trained in full, and DoRA's lengths.

        Args:
            params: the parameters.
            frozen: the parameters that `merge` will be given, where they differ, as quantised ones do: the lengths are
                theirs, so that a new adapter changes nothing.
        """
        found = {}
        frozen_by_path = flatten_dict(params if frozen is None else frozen, sep="/")
        for path, leaf in flatten_dict(params, sep="/").items():
            if self._full(path):
                found[path] = leaf
            elif self.dora and self.adapts(path):
                found[f"{path}/{MAGNITUDE}"] = _lengths(self._matrix(path, frozen_by_path[path]))
        return unflatten_dict(found, sep="/")

    def merge(self, base: Params, adapters: Params) -> Params:
        """Return the parameters with the adapters merged into them, in the dtypes of the base."""
        own = flatten_dict(adapters, sep="/")

        def merged(path: str, leaf: jax.Array) -> jax.Array:
            if path in own:
                return own[path]
            if f"{path}/{A}" not in own:
                return leaf
            weight = self._matrix(path, leaf) + self._change(path, own)
            if self.dora:
                factor = own[f"{path}/{MAGNITUDE}"] / jax.lax.stop_gradient(_lengths(weight))
                weight = weight * factor[..., None, :]
            return weight.reshape(leaf.shape).astype(leaf.dtype)

        return _map(merged, base)

    def unmerge(self, merged: Params, adapters: Params) -> Params:
        """Return the base parameters from merged ones, to rounding: the inverse of `merge`.

        Raises:
            ValueError: for DoRA and for parameters trained in full, where the base cannot be recovered.
        """
        own = flatten_dict(adapters, sep="/")
        if self.dora or any(path.rpartition("/")[2] not in (A, B) for path in own):
            raise ValueError("only W + (alpha / rank) A B can be undone: keep the base")

        def base(path: str, leaf: jax.Array) -> jax.Array:
            if f"{path}/{A}" not in own:
                return leaf
            return (self._matrix(path, leaf) - self._change(path, own)).reshape(leaf.shape).astype(leaf.dtype)

        return _map(base, merged)

    def adapts(self, path: str) -> bool:
        """Return whether the parameter of this path gets an adapter."""
        return self.rank > 0 and _search(self.pattern, path, "pattern") and not self._full(path)

    def _full(self, path: str) -> bool:
        return bool(self.full) and _search(self.full, path, "full")

    def _change(self, path: str, own: dict[str, jax.Array]) -> jax.Array:
        return (self.alpha / self.rank) * (own[f"{path}/{A}"] @ own[f"{path}/{B}"])

    def _matrix(self, path: str, leaf: jax.Array) -> jax.Array:
        stack, inputs, outputs = self._sizes(path, leaf.shape)
        return leaf.reshape(*stack, inputs, outputs)

    def _sizes(self, path: str, shape: tuple[int, ...]) -> tuple[tuple[int, ...], int, int]:
        """Return the sizes of the stacked axes, and the products of the sizes of inputs and of outputs."""
        default = "i" * (len(shape) - 1) + "o"
        layout = next((layout for pattern, layout in self.layouts if _search(pattern, path, "layouts")), default)
        if len(layout) != len(shape) or not re.fullmatch("l*i+o+", layout):
            raise BadInput(
                f"lora: {path} is {list(shape)}, to which the layout {layout!r} does not fit: give one letter an axis, "
                "as lio, in lora.layouts, or narrow lora.pattern to kernels"
            )
        stack, inputs = layout.count("l"), layout.count("i")
        return shape[:stack], math.prod(shape[stack : stack + inputs]), math.prod(shape[stack + inputs :])


def _lengths(weight_LIO: jax.Array) -> jax.Array:
    """Compute the Euclidean length of every output's column, [L, O]."""
    return jnp.sqrt(jnp.square(weight_LIO).sum(-2))


def _map(change: Callable[[str, jax.Array], jax.Array], params: Params) -> Params:
    def pairs() -> Iterator[tuple[str, jax.Array]]:
        for path, leaf in flatten_dict(params, sep="/").items():
            yield path, change(path, leaf)

    return unflatten_dict(dict(pairs()), sep="/")


def _search(pattern: str, path: str, name: str) -> bool:
    try:
        return re.search(pattern, path) is not None
    except re.error as error:
        raise BadInput(f"lora.{name} is {pattern!r}, which is not a regular expression: {error}") from None
