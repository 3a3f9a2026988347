"""Random numbers of one pass over the data: pure functions of (seed, number of the pass)."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np


@dataclass(frozen=True)
class Epoch:
    """Identify one pass over the data, and give the random numbers of that pass.

    Attributes:
        seed: seeds the order of the rows and how a text is cut into them.
        number: counts the passes from 0.
        noise: seeds what is drawn for each row, such as a crop; None: `seed`.
    """

    seed: int
    number: int
    noise: int | None = None

    def words(self, count: int, purpose: int) -> np.ndarray:
        """Return random words from the seed of the order.

        These are raw words of a counter-based generator: NumPy keeps them the same in every release, while the methods
        of its `Generator` may change.

        Args:
            count: how many.
            purpose: separates the streams of one epoch from each other.

        Returns:
            uint64 [count].
        """
        return self._words(self.seed, count, purpose)

    def noise_words(self, count: int, purpose: int) -> np.ndarray:
        """Return random words from the seed of the noise; uint64 [count]."""
        return self._words(self.seed if self.noise is None else self.noise, count, purpose)

    def _words(self, seed: int, count: int, purpose: int) -> np.ndarray:
        return np.random.Philox(np.random.SeedSequence([seed, self.number, purpose])).random_raw(count)


def cached_per_seed(make: Callable[[Epoch, int], np.ndarray]) -> Callable[[Epoch, int], np.ndarray]:
    """Cache a function of (epoch, count): for each seed the results of its two latest epochs.

    Runs of many seeds may read the same data in turn, and each of them needs two epochs where one ends and the next
    begins.
    """
    by_seed = lru_cache(maxsize=256)(lambda seed: lru_cache(maxsize=2)(make))
    return lambda epoch, count: by_seed(epoch.seed)(epoch, count)


@cached_per_seed
def permutation(epoch: Epoch, count: int) -> np.ndarray:
    """Return the random order of an epoch's rows; int64 [count], read-only."""
    order = np.argsort(epoch.words(count, purpose=0), kind="stable")
    order.setflags(write=False)
    return order
