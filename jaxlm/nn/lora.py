"""Low-rank adapters: a small trained change of a large frozen tree of parameters.

L stacked layers (an axis of a scanned kernel, or none), I inputs, O outputs, R rank.
"""

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxlm.errors import BadInput

Params = Any  # nested dicts of arrays, as Linen has them
A, B, MAGNITUDE = "lora_a", "lora_b", "scale"  # "scale", so that no optimizer decays it


@dataclass(frozen=True)
class LoRA:
    """Spec: which parameters get an adapter, and of what rank. A kernel W [I, O] becomes W + (alpha / rank) A B.

    Hu et al. 2021 (arXiv:2106.09685), section 4.1, with A [I, R] and B [R, O]; B begins at zero, so that a fresh
    adapter changes nothing. With `dora` each output's column is given a trained length m as well:
    m (W + (alpha / rank) A B) / |W + (alpha / rank) A B|, where the gradient takes the lengths in the denominator for
    constants (Liu et al. 2024, arXiv:2402.09353, equation 5 and section 4.3).

    Adapters are a tree of their own: at the path of each adapted kernel {"lora_a", "lora_b"} and, with `dora`, the
    length "scale" [O]; at the path of each parameter that is trained in full, the parameter. The change is made to
    the weights, so it holds for any model. Its price is that the gradient of an adapted kernel is made whole before it
    is projected: optimizer and adapters are small, and the work of a step is about that of training in full.

    rank: R; 0 adapts nothing.    alpha: the strength of the change, whatever the rank.
    pattern: a regular expression, searched for in the "/"-joined paths of parameters.
    full: likewise, for what is trained in full beside the adapters, such as a new head ("^head/").
    layouts: (pattern, one letter for each axis) of kernels that are not [inputs..., output]: l is an axis of stacked
      layers, i of inputs, o of outputs, in this order; the first pattern found in a path decides.
    """

    rank: int = 8
    alpha: float = 16.0
    pattern: str = r"(attention|feed_forward)/.*kernel$"
    dora: bool = False
    full: str = ""
    layouts: tuple[tuple[str, str], ...] = (("^blocks/", "lio"),)

    def init(self, key: jax.Array, params: Params) -> Params:
        """Fresh adapters of these parameters, which change nothing; A uniform within 1 / sqrt(I).

        Raises:
            BadInput: patterns that are none, or that find no parameter; a layout that does not fit its kernel.
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

    def derive(self, params: Params) -> Params:
        """The part of fresh adapters that follows from the parameters: what is trained in full, and DoRA's lengths."""
        found = {}
        for path, leaf in flatten_dict(params, sep="/").items():
            if self._full(path):
                found[path] = leaf
            elif self.dora and self.adapts(path):
                found[f"{path}/{MAGNITUDE}"] = _lengths(self._matrix(path, leaf))
        return unflatten_dict(found, sep="/")

    def merge(self, base: Params, adapters: Params) -> Params:
        """The parameters with the adapters' change in them, in the dtypes of the base."""
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
        """The base again, to rounding.

        Raises:
            ValueError: for DoRA and parameters trained in full, which keep no trace of what they replaced.
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
        """Whether the parameter of this path gets an adapter."""
        return self.rank > 0 and _search(self.pattern, path, "pattern") and not self._full(path)

    def _full(self, path: str) -> bool:
        return bool(self.full) and _search(self.full, path, "full")

    def _change(self, path: str, own: dict[str, jax.Array]) -> jax.Array:
        return (self.alpha / self.rank) * (own[f"{path}/{A}"] @ own[f"{path}/{B}"])

    def _matrix(self, path: str, leaf: jax.Array) -> jax.Array:
        stack, inputs, outputs = self._sizes(path, leaf.shape)
        return leaf.reshape(*stack, inputs, outputs)

    def _sizes(self, path: str, shape: tuple[int, ...]) -> tuple[tuple[int, ...], int, int]:
        """The sizes of the stacked axes, and the products of those of the inputs and of the outputs."""
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
    """The Euclidean length of every output's column, [L, O]."""
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
        raise BadInput(f"lora.{name} is {pattern!r}, which is no regular expression: {error}") from None
