"""Distances between two sets of pictures, given as features of a network: of Frechet, and of kernels.

N pictures, F features. All in float64, on the host. Such a number says nothing without the name of the network and the
distance between two sets of real pictures of the same sizes.
"""

import numpy as np
from scipy import linalg


def frechet_distance(one_NF: np.ndarray, other_NF: np.ndarray) -> float:
    """Return the Frechet distance between the normal distributions of two sets of features (Heusel et al. 2017).

    arXiv:1706.08500, section 3. The covariances are unbiased, so at least two pictures are needed on each side. It
    shrinks with N, so compare it at one N only.
    """
    moments = [(x.mean(0), np.cov(x, rowvar=False).reshape(x.shape[1], x.shape[1])) for x in _float64(one_NF, other_NF)]
    return gaussian_distance(*moments[0], *moments[1])


def gaussian_distance(mean_F: np.ndarray, cov_FF: np.ndarray, mean2_F: np.ndarray, cov2_FF: np.ndarray) -> float:
    """Return |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)) of two normal distributions (Dowson & Landau 1982).

    The trace of the root is that of (R C2 R)^(1/2) with R the root of C1, which is symmetric, so that covariances
    without full rank, such as those of fewer pictures than features, make no complex numbers.
    """
    values, vectors = linalg.eigh(cov_FF)
    root_FF = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    inner = linalg.eigvalsh(root_FF @ cov2_FF @ root_FF)
    trace = np.trace(cov_FF) + np.trace(cov2_FF) - 2 * np.sqrt(np.maximum(inner, 0)).sum()
    return float(np.square(mean_F - mean2_F).sum() + trace)


def kernel_distance(one_NF: np.ndarray, other_NF: np.ndarray) -> float:
    """Return the squared maximum mean discrepancy with the kernel (x y / F + 1)^3 (KID, Binkowski et al. 2018).

    arXiv:1801.01401, section 3. It is unbiased, so it is about 0 for two sets of one distribution, and may be below.
    """
    one_NF, other_NF = _float64(one_NF, other_NF)
    within = [_kernel(x, x) for x in (one_NF, other_NF)]
    means = [(k.sum() - np.trace(k)) / (len(k) * (len(k) - 1)) for k in within]
    return float(sum(means) - 2 * _kernel(one_NF, other_NF).mean())


def _kernel(one_NF: np.ndarray, other_MF: np.ndarray) -> np.ndarray:
    return (one_NF @ other_MF.T / one_NF.shape[1] + 1) ** 3


def _float64(*features: np.ndarray) -> list[np.ndarray]:
    return [np.asarray(x, np.float64) for x in features]
