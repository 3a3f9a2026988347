"""Weights set to zero at once: the smallest of each kernel, or of each few neighbours (N:M sparsity)."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxlm.optim.groups import path_of
from jaxlm.optim.prune import is_kernel


def prune_share(params: Any, share: float) -> Any:
    """Set the smallest `share` of each kernel to zero (Han et al. 2015, arXiv:1506.02626).

    Args:
        params: of a model.
        share: from 0 to below 1.
    """

    def one(w: jax.Array) -> jax.Array:
        count = round(share * w.size)
        order = jnp.argsort(jnp.abs(w).ravel(), stable=True)
        return w.ravel().at[order[:count]].set(0).reshape(w.shape)

    return _kernels(params, one)


def prune_groups(params: Any, keep: int, group: int) -> Any:
    """Keep the `keep` largest of each `group` neighbours along the input axis of each kernel.

    2 of 4 is what sparse tensor cores compute (Mishra et al. 2021, arXiv:2104.08378). Inputs past the last whole group
    stay.

    Args:
        params: of a model.
        keep: N.
        group: M.
    """

    def one(w: jax.Array) -> jax.Array:
        inputs = w.shape[-2] - w.shape[-2] % group
        if not inputs:
            return w
        parts = w[..., :inputs, :].reshape(*w.shape[:-2], inputs // group, group, w.shape[-1])
        rank = jnp.argsort(jnp.argsort(-jnp.abs(parts), axis=-2, stable=True), axis=-2, stable=True)
        kept = jnp.where(rank < keep, parts, 0).reshape(*w.shape[:-2], inputs, w.shape[-1])
        return jnp.concatenate([kept, w[..., inputs:, :]], axis=-2)

    return _kernels(params, one)


def prune_average(average: Any, before: Any, after: Any) -> Any:
    """Set a running average of parameters to zero where pruning has set the parameters to zero.

    The average moves towards the parameters, so zeros that are in other places would not stay.

    Args:
        average: the parameters' running average.
        before: the parameters.
        after: the same, pruned.
    """
    return jax.tree.map(lambda x, old, new: jnp.where((new == 0) & (old != 0), 0, x), average, before, after)


def zeros_of(params: Any) -> tuple[int, int]:
    """Return how many weights of the kernels are zero, and how many there are."""
    kernels = [x for path, x in jax.tree_util.tree_leaves_with_path(params) if is_kernel(path_of(path), x)]
    return sum(int((x == 0).sum()) for x in kernels), sum(x.size for x in kernels)


def _kernels(params: Any, change: Any) -> Any:
    def one(path: Any, w: jax.Array) -> jax.Array:
        return change(jnp.asarray(w)) if is_kernel(path_of(path), w) else w

    return jax.tree_util.tree_map_with_path(one, params)
