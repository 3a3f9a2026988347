"""Batches that tests of augmentation share."""

from functools import cache, partial

import jax
import numpy as np
from hypothesis import strategies as st

from jaxlm.data.images.augment import (
    augment,
)

CLASSES, BATCH = 3, 8
seeds = st.integers(0, 2**32 - 1)


def draw(seed, count=BATCH, shape=(6, 5, 3)):
    """A batch of float images of whole 255ths: of bytes, XLA's division by 255 may be off by the last bit."""
    numbers = np.random.default_rng(seed)
    return {
        "image": numbers.integers(0, 256, (count, *shape)).astype(np.float32) / np.float32(255),
        "label": numbers.integers(0, CLASSES, count, dtype=np.int32),
        "keys": numbers.integers(0, 2**32, (count, 2), dtype=np.uint32),
    }


@cache
def compiled(*operations):
    return jax.jit(partial(augment, operations, CLASSES))


def apply(batch, *operations):
    found = compiled(*operations)(batch)
    return np.asarray(found["image"]), np.asarray(found["target"])
