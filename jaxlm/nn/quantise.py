"""Frozen weights in 8 or 4 bits, for a base that is only read.

A quantised matrix is a dict in its place, so that trees of them are saved and restored like any other: in 8 bits
{"int8", "step"}, in 4 {"nf4" (two codes a byte), "largest" (one a block)}.
"""

import math
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

Params = Any  # nested dicts of arrays, as Linen has them
Bits = Literal[4, 8]

BLOCK = 64
# Quantiles of a normal distribution, scaled to [-1, 1], with an exact zero (Dettmers et al. 2023, appendix E).
NORMAL_FLOAT = (
    *(-1.0, -0.6961928, -0.52507305, -0.3949175, -0.28444138, -0.18477343, -0.09105004, 0.0),
    *(0.0795803, 0.1609302, 0.2461123, 0.33791524, 0.44070983, 0.562617, 0.72295684, 1.0),
)


def quantise(params: Params, bits: Bits) -> Params:
    """Parameters with their kernels and embedding tables in 8 or 4 bits, and all else as it was.

    8 bits: whole numbers from -127 to 127 times a step for each output of a kernel and each row of a table, the largest
    magnitude over 127 (absmax). An entry is off by half a step at most.
    4 bits: NormalFloat, in blocks of 64 neighbours that share their largest magnitude (Dettmers et al. 2023, QLoRA,
    arXiv:2305.14314, section 3; without double quantisation: 4.5 bits an entry in all). A matrix that does not divide
    into such blocks, or with rows of odd length, stays as it is.
    """
    found = {}
    for path, leaf in flatten_dict(params, sep="/").items():
        name = path.rpartition("/")[2]
        if name not in ("kernel", "embedding"):
            found[path] = leaf
        elif bits == 8:
            found[path] = _to_int8(leaf, axis=-1 if name == "embedding" else -2)
        else:
            found[path] = leaf if leaf.shape[-1] % 2 or math.prod(leaf.shape) % BLOCK else _to_nf4(leaf)
    return unflatten_dict(found, sep="/")


def dequantise(params: Params) -> Params:
    """The parameters that `quantise` stands for, float32; a tree without quantised leaves is given back."""
    return jax.tree.map(lambda leaf: _whole(leaf) if isinstance(leaf, dict) else leaf, params, is_leaf=_is_quantised)


def _is_quantised(node: Any) -> bool:
    return isinstance(node, dict) and (node.keys() == {"int8", "step"} or node.keys() == {"nf4", "largest"})


def _whole(leaf: dict[str, jax.Array]) -> jax.Array:
    if "int8" in leaf:
        return leaf["int8"].astype(leaf["step"].dtype) * leaf["step"]
    packed, largest = leaf["nf4"], leaf["largest"]
    codes = jnp.stack([packed >> 4, packed & 15], axis=-1).reshape(-1, BLOCK)
    values = jnp.asarray(NORMAL_FLOAT, largest.dtype)[codes] * largest[:, None]
    return values.reshape(*packed.shape[:-1], -1)


def _to_int8(leaf: jax.Array, axis: int) -> dict[str, jax.Array]:
    step = jnp.abs(leaf).max(axis, keepdims=True) / 127
    values = jnp.round(leaf / jnp.where(step == 0, 1, step))
    return {"int8": values.astype(jnp.int8), "step": step}


def _to_nf4(leaf: jax.Array) -> dict[str, jax.Array]:
    blocks = leaf.reshape(-1, BLOCK)
    largest = jnp.abs(blocks).max(-1)
    scaled = blocks / jnp.where(largest == 0, 1, largest)[:, None]
    levels = jnp.asarray(NORMAL_FLOAT, leaf.dtype)
    codes = jnp.searchsorted((levels[1:] + levels[:-1]) / 2, scaled).astype(jnp.uint8)
    pairs = codes.reshape(*leaf.shape[:-1], -1, 2)
    return {"nf4": pairs[..., 0] << 4 | pairs[..., 1], "largest": largest}
