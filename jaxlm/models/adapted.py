"""A frozen model with trained LoRA adapters, which is a model again."""

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxlm.nn.lora import LoRA
from jaxlm.nn.quantise import Bits, dequantise, quantise

Variables = dict[str, Any]  # {"params": ..., other collections}


@dataclass(frozen=True)
class Adapted:
    """A model that trains only the adapters of another model, which is frozen in the collection "base".

    It has `init` and `apply` like the model inside, so steps, losses, decoding and checkpoints take it like any other.
    Gradients, optimizer state and averages cover the adapters alone. Every other attribute (`vocab`, `init_cache`, ...)
    is the inner model's. The computation follows the dtype of the adapters, as it follows the dtype of any parameters.

    With `LoRA(rank=0, full=".")` all parameters are trained and the base is a frozen copy of the initial ones. A loss
    that compares with the initial model, such as DPO, needs this copy.

    Attributes:
        base: the model inside.
        lora: which of its parameters are adapted.
        bits: quantise the frozen weights to 8 or 4 bits; None keeps them (see `jaxlm.nn.quantise`).
    """

    base: Any
    lora: LoRA = field(default_factory=LoRA)
    bits: Bits | None = None

    def init(self, key: jax.Array, *args: Any) -> Variables:
        """Draw the inner model's variables and new adapters.

        Args:
            key: typed PRNG key; the inner model draws from it what it would draw alone.
            *args: example inputs of the inner model.

        Returns:
            {"params": adapters, "base": the inner model's frozen parameters, and its other collections}.
        """
        variables = dict(self.base.init(key, *args))
        adapters = self.lora.init(jax.random.fold_in(key, 1), variables["params"])
        derived = self.derive(variables)
        return derived | {"params": unflatten_dict(flatten_dict(adapters) | flatten_dict(derived["params"]))}

    def derive(self, variables: Variables) -> Variables:
        """Compute the variables that follow from those of the inner model, some of which may be missing."""
        others = dict(variables)
        params = others.pop("params")
        base = params if self.bits is None else quantise(params, self.bits)
        return {**others, "params": self.lora.derive(params, dequantise(base)), "base": base}

    def apply(self, variables: Variables, *args: Any, **options: Any) -> Any:
        """Apply the inner model with the adapters merged into its parameters."""
        return self.base.apply(self.merged(variables), *args, **options)

    def apply_base(self, variables: Variables, *args: Any, **options: Any) -> Any:
        """Apply the inner model without the adapters."""
        others = {name: tree for name, tree in variables.items() if name != "base"}
        params = _in_dtype_of(variables["params"], dequantise(variables["base"]))
        return self.base.apply({**others, "params": params}, *args, **options)

    def merged(self, variables: Variables) -> Variables:
        """Return the inner model's variables with the adapters merged into its parameters."""
        others = {name: tree for name, tree in variables.items() if name != "base"}
        params = self.lora.merge(dequantise(variables["base"]), variables["params"])
        return {**others, "params": _in_dtype_of(variables["params"], params)}

    def __getattr__(self, name: str) -> Any:
        """Return the inner model's attribute."""
        if name.startswith("__") or name == "base":  # not while the value itself is being copied or unpickled
            raise AttributeError(name)
        return getattr(self.base, name)


def share(model: Any, *args: Any) -> str:
    """Describe in one line how many of a model's parameters are trained; `args` are the inputs of its `init`."""
    variables = jax.eval_shape(model.init, jax.random.key(0), *args)
    trained = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    if not isinstance(model, Adapted):
        return f"all {trained:,} parameters are trained"
    whole = jax.tree.leaves(jax.eval_shape(model.merged, variables)["params"])
    frozen = sum(leaf.size for leaf in whole)
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(variables["base"]))
    portion = trained / (trained + frozen)
    return f"{trained:,} parameters are trained ({portion:.2%}) on {frozen:,} frozen ones in {size / 1e6:,.1f} MB"


def _in_dtype_of(adapters: Any, params: Any) -> Any:
    """Cast parameters to the dtype of the adapters, so that casting the adapters casts the model."""
    dtypes = [leaf.dtype for leaf in jax.tree.leaves(adapters)]
    dtype = jnp.result_type(*dtypes) if dtypes else None
    return params if dtype is None else jax.tree.map(lambda leaf: leaf.astype(dtype), params)
