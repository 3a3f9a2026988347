"""Hold interactions of each user out: the last ones by time, or random ones where there are no times.

Which ones is a function of (log, seed): the seed, in the config of a run, decides without times, and among equal times.
"""

from dataclasses import dataclass

import numpy as np

from jaxlm.data.epoch import Epoch
from jaxlm.data.interactions.log import InteractionLog
from jaxlm.errors import BadInput


@dataclass(frozen=True)
class LeaveOneOut:
    """Hold one interaction of each user out who has at least two (He et al. 2017, section 4.1).

    Attributes:
        seed: decides where time does not.
    """

    seed: int = 0

    def counts(self, counts: np.ndarray) -> np.ndarray:
        """Return how many of each user's interactions are held out; int64 [U]."""
        return (counts >= 2).astype(np.int64)


@dataclass(frozen=True)
class Fraction:
    """Hold a share of the interactions of each user out, rounded down.

    Attributes:
        share: above 0 and below 1.
        seed: decides where time does not.
    """

    share: float = 0.2
    seed: int = 0

    def counts(self, counts: np.ndarray) -> np.ndarray:
        """Return how many of each user's interactions are held out; int64 [U].

        Raises:
            BadInput: the share is out of range.
        """
        if not 0 < self.share < 1:
            raise BadInput(f"data.split.share is {self.share}: give a number above 0 and below 1")
        return np.floor(self.share * counts + 1e-9).astype(np.int64)


Split = LeaveOneOut | Fraction


def in_time(log: InteractionLog, seed: int) -> InteractionLog:
    """Return a log whose interactions of a user are in the order of time; a random one among equal or unknown times."""
    words = Epoch(seed, 0).words(len(log.users), purpose=8)
    times = np.zeros(len(words)) if log.times is None else log.times
    return log.select(np.lexsort((words, times, log.users)))


def hold_out(log: InteractionLog, split: Split) -> tuple[InteractionLog, InteractionLog]:
    """Return the interactions that are kept and the last ones of each user, which are held out.

    Args:
        log: in the order of users and, of a user, of time (`in_time`).
        split: how many of each user.
    """
    counts = np.bincount(log.users, minlength=len(log.user_names))
    from_end = np.repeat(np.cumsum(counts), counts) - np.arange(len(log.users))  # 1 is a user's last
    out = from_end <= np.repeat(split.counts(counts), counts)
    return log.select(~out), log.select(out)
