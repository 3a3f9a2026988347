"""A PRNG key for each example, as the entry "keys" of a batch.

Noise that is drawn from an example's own key (augmentation, dropped words, the steps of a diffusion model, an episode
of an environment) depends on the seed, the epoch and the row alone. Batch size, micro-batches, devices, processes and
reading workers do not change it, and neither does the batch that a row falls in.

Inside a step: `steps.typed_keys(batch["keys"])` gives typed keys [B].
"""

from functools import lru_cache

import numpy as np

from jaxlm.data.epoch import Epoch, cached_per_seed


@cached_per_seed
def training_keys(epoch: Epoch, count: int) -> np.ndarray:
    """Return the key of each row in an epoch: a function of (seed of the noise, epoch, row); uint32 [count, 2]."""
    return _as_keys(epoch.noise_words(count, purpose=3))


@lru_cache(maxsize=8)
def evaluation_keys(count: int) -> np.ndarray:
    """Return the key of each row in an evaluation: a function of the row alone, so that all evaluations agree.

    Runs of several seeds have the same noise in their evaluations, and their scores can be compared in pairs.

    Returns:
        uint32 [count, 2].
    """
    return _as_keys(Epoch(0, 0).words(count, purpose=6))


def _as_keys(words: np.ndarray) -> np.ndarray:
    keys = words.view(np.uint32).reshape(len(words), 2)
    keys.setflags(write=False)
    return keys
