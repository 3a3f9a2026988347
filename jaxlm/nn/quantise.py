"""Quantisation of frozen weights to 8 bits (absmax) or 4 bits (NF4).

A quantised matrix is a dict in the place of the array, so that trees of them are saved and restored like any other:
{"int8", "step"} in 8 bits, with "input_step" where its layer computes in integers (`jaxlm.nn.integer`), and
{"nf4" (two codes per byte), "largest" (one per block)} in 4 bits.
"""

import math
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxlm.nn.module import Params

Bits = Literal[4, 8]

BLOCK_SIZE = 64
# Quantiles of a normal distribution, scaled to [-1, 1], with an exact zero (Dettmers et al. 2023, appendix E).
NORMAL_FLOAT = (
    *(-1.0, -0.6961928, -0.52507305, -0.3949175, -0.28444138, -0.18477343, -0.09105004, 0.0),
    *(0.0795803, 0.1609302, 0.2461123, 0.33791524, 0.44070983, 0.562617, 0.72295684, 1.0),
)


def quantise(params: Params, bits: Bits) -> Params:
    """Quantise kernels and embedding tables to 8 or 4 bits; all other parameters are kept.

    8 bits: integers from -127 to 127 times a step for each output of a kernel (of a convolution, for all its places)
    and each row of a table; the step is the largest magnitude over 127 (absmax). An entry is off by at most half a
    step.

    4 bits: NormalFloat in blocks of 64 neighbours that share their largest magnitude (Dettmers et al. 2023, QLoRA,
    arXiv:2305.14314, section 3; without double quantisation: 4.5 bits per entry in all). A matrix that does not divide
    into such blocks, or whose rows have odd length, is kept as it is.
    """
    found = {}
    for path, leaf in flatten_dict(params, sep="/").items():
        name = path.rpartition("/")[2]
        if name not in ("kernel", "embedding"):
            found[path] = leaf
        elif bits == 8:
            convolution = name == "kernel" and leaf.ndim == 4  # of three axes, the first one is of scanned layers
            found[path] = _to_int8(leaf, (-1,) if name == "embedding" else (0, 1, 2) if convolution else (-2,))
        else:
            found[path] = leaf if leaf.shape[-1] % 2 or math.prod(leaf.shape) % BLOCK_SIZE else _to_nf4(leaf)
    return unflatten_dict(found, sep="/")


def dequantise(params: Params) -> Params:
    """Return the parameters as float32: the inverse of `quantise`; leaves that are not quantised are kept."""
    return jax.tree.map(lambda leaf: _whole(leaf) if isinstance(leaf, dict) else leaf, params, is_leaf=_is_quantised)


def _is_quantised(node: Any) -> bool:
    kinds = ({"int8", "step"}, {"int8", "step", "input_step"}, {"nf4", "largest"})
    return isinstance(node, dict) and node.keys() in kinds


def _whole(leaf: dict[str, jax.Array]) -> jax.Array:
    if "int8" in leaf:
        return leaf["int8"].astype(leaf["step"].dtype) * leaf["step"]
    packed, largest = leaf["nf4"], leaf["largest"]
    codes = jnp.stack([packed >> 4, packed & 15], axis=-1).reshape(-1, BLOCK_SIZE)
    values = jnp.asarray(NORMAL_FLOAT, largest.dtype)[codes] * largest[:, None]
    return values.reshape(*packed.shape[:-1], -1)


def _to_int8(leaf: jax.Array, axes: tuple[int, ...]) -> dict[str, jax.Array]:
    step = jnp.abs(leaf).max(axes, keepdims=True) / 127
    values = jnp.round(leaf / jnp.where(step == 0, 1, step))
    return {"int8": values.astype(jnp.int8), "step": step}


def _to_nf4(leaf: jax.Array) -> dict[str, jax.Array]:
    blocks = leaf.reshape(-1, BLOCK_SIZE)
    largest = jnp.abs(blocks).max(-1)
    scaled = blocks / jnp.where(largest == 0, 1, largest)[:, None]
    levels = jnp.asarray(NORMAL_FLOAT, leaf.dtype)
    codes = jnp.searchsorted((levels[1:] + levels[:-1]) / 2, scaled).astype(jnp.uint8)
    pairs = codes.reshape(*leaf.shape[:-1], -1, 2)
    return {"nf4": pairs[..., 0] << 4 | pairs[..., 1], "largest": largest}
