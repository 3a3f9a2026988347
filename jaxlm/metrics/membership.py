"""How well an attack separates the examples that a model was trained on from others, by their scores.

M members, O others.
"""

from typing import NamedTuple

import numpy as np

CONFIDENT = (0.01, 0.001)  # shares of wrong alarms at which an attack is also measured (Carlini et al. 2022)


class Membership(NamedTuple):
    """The result of a membership-inference attack.

    Attributes:
        auc: the probability that a member scores higher than another example; 0.5 is chance.
        low, high: its 95 % interval.
        found: at each share of wrong alarms in `CONFIDENT`, the share of the members that is found.
    """

    auc: float
    low: float
    high: float
    found: tuple[float, ...]


def measure_membership(members_M: np.ndarray, others_O: np.ndarray) -> Membership:
    """Measure an attack by the scores that it gives: the area under the ROC curve, and what it finds with confidence.

    The interval is that of DeLong et al. 1988 (Biometrics 44), from the variances of the two samples' placement values.
    Confidence: Carlini et al. 2022, arXiv:2112.03570, section III.

    Args:
        members_M: scores of examples that were trained on; larger is more likely a member.
        others_O: scores of other examples of the same kind.
    """
    above_M = _placement(members_M, others_O)
    below_O = 1 - _placement(others_O, members_M)
    auc = float(above_M.mean())
    half = 1.96 * float(np.sqrt(above_M.var(ddof=1) / len(above_M) + below_O.var(ddof=1) / len(below_O)))
    found = tuple(float((members_M > _threshold(others_O, share)).mean()) for share in CONFIDENT)
    return Membership(auc, max(auc - half, 0.0), min(auc + half, 1.0), found)


def _placement(scores: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return for each score the share of the others that are below it; ties count half."""
    ordered = np.sort(others)
    return (np.searchsorted(ordered, scores, "left") + np.searchsorted(ordered, scores, "right")) / (2 * len(ordered))


def _threshold(others: np.ndarray, share: float) -> float:
    """Return the least score that at most a share of the others exceed."""
    return float(np.sort(others)[::-1][int(share * len(others))])
