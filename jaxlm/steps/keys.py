"""PRNG keys that come with the data."""

from typing import Any

import jax


def typed_keys(words: Any) -> jax.Array:
    """Return the typed PRNG keys of "keys", the entry of a batch with one key for each row, for use inside a step.

    Noise that is drawn from them does not depend on batch size, micro-batches or devices (`jaxlm.data.keys`).

    Args:
        words: uint32 [..., 2].

    Returns:
        Keys of threefry, [...].
    """
    return jax.random.wrap_key_data(words, impl="threefry2x32")
