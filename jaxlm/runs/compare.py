"""Compare two states, leaf by leaf and bit by bit."""

import hashlib
from typing import Any

import jax
import numpy as np

HostLeaves = dict[str, np.ndarray]


def host_leaves(state: Any) -> HostLeaves:
    """Copy every leaf of a state to the host, by path, in the order of the tree; PRNG keys as their words."""

    def host(leaf: Any) -> np.ndarray:
        is_key = jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return np.asarray(jax.device_get(jax.random.key_data(leaf) if is_key else leaf))

    leaves = jax.tree_util.tree_leaves_with_path(state)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): host(leaf) for path, leaf in leaves}


def differing(first: HostLeaves, second: HostLeaves) -> list[str]:
    """Return the paths of the leaves that are not equal in shape, dtype and every byte, in the order of the tree."""
    return [name for name in {**first, **second} if not _equal(first.get(name), second.get(name))]


def _equal(a: np.ndarray | None, b: np.ndarray | None) -> bool:
    if a is None or b is None or a.shape != b.shape or a.dtype != b.dtype:
        return False
    return a.tobytes() == b.tobytes()


def largest_difference(a: np.ndarray, b: np.ndarray) -> float:
    """Return the largest absolute difference of two arrays of one shape; NaN where only one of them is finite."""
    return float(np.max(np.abs(a.astype(np.float64) - b.astype(np.float64)), initial=0.0))


def digests(state: dict[str, Any]) -> dict[str, str]:
    """Compute the SHA-256 of each group of leaves ("params", "opt_state", ...): names, shapes, dtypes, bytes."""
    groups = {}
    for name, group in state.items():
        total = hashlib.sha256()
        for path, leaf in jax.tree_util.tree_leaves_with_path(group):
            if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
                leaf = jax.random.key_data(leaf)
            total.update(f"{jax.tree_util.keystr(path)} {leaf.shape} {leaf.dtype}\n".encode())
            total.update(jax.device_get(leaf).tobytes())
        groups[name] = total.hexdigest()
    return groups
