"""A frozen model with trained adapters on it, which is a model again."""

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp

from jaxlm.nn.lora import LoRA
from jaxlm.nn.quantise import Bits, dequantise, quantise

Variables = dict[str, Any]  # {"params": ..., other collections}


@dataclass(frozen=True)
class Adapted:
    """A model whose parameters are the adapters of another one, which is frozen in the collection "base".

    It offers `init` and `apply` like the model inside, so steps, losses, decoding and checkpoints take it as they take
    any other: gradients, optimizer state and averages are of the adapters alone. All else (`vocab`, `init_cache`, ...)
    is the inner model's. Adapters are computed with, like all parameters, in the dtype that they come in.

    base: the model inside.    lora: which of its parameters are adapted.
    bits: of the frozen weights, 8 or 4; None leaves them as they are (see `jaxlm.nn.quantise`).

    With `LoRA(rank=0, full=".")` all parameters are trained and the base is a frozen copy of the start, which is what a
    loss that refers to the start needs.
    """

    base: Any
    lora: LoRA = field(default_factory=LoRA)
    bits: Bits | None = None

    def init(self, key: jax.Array, *args: Any) -> Variables:
        """The variables of the model inside, drawn as it draws them, as {"params": fresh adapters, "base": ...}."""
        variables = dict(self.base.init(key, *args))
        adapters = self.lora.init(jax.random.fold_in(key, 1), variables["params"])
        return self.derive(variables) | {"params": adapters}

    def derive(self, variables: Variables) -> Variables:
        """What follows from variables of the model inside; parameters may be missing among them, and then are here."""
        others = dict(variables)
        params = others.pop("params")
        base = params if self.bits is None else quantise(params, self.bits)
        return {**others, "params": self.lora.derive(params), "base": base}

    def apply(self, variables: Variables, *args: Any, **options: Any) -> Any:
        """What the model inside gives with the adapters merged into its parameters."""
        return self.base.apply(self.merged(variables), *args, **options)

    def apply_base(self, variables: Variables, *args: Any, **options: Any) -> Any:
        """What the model inside gives without the adapters."""
        others = {name: tree for name, tree in variables.items() if name != "base"}
        params = _in_dtype_of(variables["params"], dequantise(variables["base"]))
        return self.base.apply({**others, "params": params}, *args, **options)

    def merged(self, variables: Variables) -> Variables:
        """The variables of the model inside, with the adapters' change in its parameters."""
        others = {name: tree for name, tree in variables.items() if name != "base"}
        params = self.lora.merge(dequantise(variables["base"]), variables["params"])
        return {**others, "params": _in_dtype_of(variables["params"], params)}

    def __getattr__(self, name: str) -> Any:
        """What the model inside has."""
        if name.startswith("__") or name == "base":  # not while the value itself is being copied or unpickled
            raise AttributeError(name)
        return getattr(self.base, name)


def share(model: Any, *args: Any) -> str:
    """One line of how much of a model is trained; `args` are what its `init` takes after the key."""
    variables = jax.eval_shape(model.init, jax.random.key(0), *args)
    trained = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    if not isinstance(model, Adapted):
        return f"all {trained:,} parameters are trained"
    whole = jax.tree.leaves(jax.eval_shape(model.merged, variables)["params"])
    frozen = sum(leaf.size for leaf in whole)
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(variables["base"]))
    portion = trained / (trained + frozen)
    return f"{trained:,} parameters are trained ({portion:.2%}) beside {frozen:,} frozen ones in {size / 1e6:,.1f} MB"


def _in_dtype_of(adapters: Any, params: Any) -> Any:
    """Parameters in the dtype that the adapters come in, so that casting those casts the model."""
    dtypes = [leaf.dtype for leaf in jax.tree.leaves(adapters)]
    dtype = jnp.result_type(*dtypes) if dtypes else None
    return params if dtype is None else jax.tree.map(lambda leaf: leaf.astype(dtype), params)
