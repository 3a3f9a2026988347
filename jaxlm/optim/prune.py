"""Weights that become zero while a run trains, and weights that stay zero."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from jaxlm.errors import BadInput
from jaxlm.optim.groups import path_of

KERNEL = "kernel"  # the last word of the paths of what is pruned


@dataclass(frozen=True)
class Prune:
    """Pruning of the kernels by magnitude, as a part of an optimizer.

    After update t the smallest `share * (1 - (1 - (t - begin) / (end - begin))^3)` of each kernel are zero, all of
    `share` from `end` on (Zhu & Gupta 2017, arXiv:1710.01878, equation 1). Which ones may change at every update.

    Law: with the defaults it is the identity; with `keep`, a weight that is zero before an update is zero after it.

    Attributes:
        share: of each kernel that is zero at the end.
        begin: the update after which pruning begins.
        end: the update at which all of `share` is zero.
        keep: weights that are zero stay zero, as in a run that was pruned before (`jaxlm compress`).
    """

    share: float = 0.0
    begin: int = 0
    end: int = 0
    keep: bool = False

    def __call__(self, updates: Any, params: Any, count: jax.Array) -> Any:
        """Return updates after which the chosen weights are zero.

        Args:
            updates: what will be added to the parameters.
            params: the parameters before.
            count: int32, updates before this one.
        """
        if not self.share and not self.keep:
            return updates

        def one(path: Any, update: Any, param: jax.Array) -> Any:
            if not is_kernel(path_of(path), param):
                return update
            after = param + update
            kept = jnp.ones(param.shape, bool)
            if self.share:
                kept &= jnp.abs(after) > self._threshold(after, count + 1)
            if self.keep:
                kept &= param != 0
            return jnp.where(kept, update, -param)

        return jax.tree_util.tree_map_with_path(one, updates, params)

    def _threshold(self, weights: jax.Array, done: jax.Array) -> jax.Array:
        """Return the largest magnitude that is set to zero; below 0 where none is."""
        part = jnp.clip((done - self.begin) / max(self.end - self.begin, 1), 0, 1)
        count = jnp.round(self.share * (1 - (1 - part) ** 3) * weights.size).astype(jnp.int32)
        ordered = jnp.sort(jnp.abs(weights).ravel())
        return jnp.where(count > 0, ordered[jnp.maximum(count - 1, 0)], -1.0)

    def validate(self, steps: int) -> None:
        """Check the fields; raises BadInput with one line."""
        if not 0 <= self.share < 1:
            raise BadInput(f"optim.prune.share is {self.share}: it is a fraction from 0 to below 1")
        if not 0 <= self.begin <= self.end <= steps:
            raise BadInput(
                f"optim.prune begins at update {self.begin} and ends at {self.end}, and the run has {steps}: they must "
                "be in this order"
            )


def is_kernel(path: str, param: Any) -> bool:
    """Return whether a parameter is pruned: a matrix or a convolution."""
    return path.rpartition("/")[2] == KERNEL and param.ndim >= 2
