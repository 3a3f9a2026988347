"""Deal examples to clients: at random, a few shards of a sorted list to each, or by a Dirichlet distribution.

A deal is a list of int64 arrays, the rows of each client. Every row is dealt once; the deal is a function of the seed.
"""

import numpy as np

from jaxlm.errors import BadInput

Deal = list[np.ndarray]


def deal_evenly(count: int, clients: int, seed: int) -> Deal:
    """Deal rows at random, so that clients have equally many to within one (IID).

    Args:
        count: rows.
        clients: how many.
        seed: of the deal.

    Raises:
        BadInput: fewer rows than clients.
    """
    _check(count, clients, clients, "data.clients")
    return np.array_split(_draws(seed).permutation(count), clients)


def deal_shards(labels: np.ndarray, clients: int, shards: int, seed: int) -> Deal:
    """Sort rows by label, cut them into shards, and deal `shards` at random to each client.

    With two shards a client has the examples of about two classes: the non-IID MNIST of McMahan et al. 2017,
    arXiv:1602.05629, section 3.

    Args:
        labels: integers [N].
        clients: how many.
        shards: of each client.
        seed: of the deal.

    Raises:
        BadInput: fewer rows than shards.
    """
    if shards < 1:
        raise BadInput(f"data.shards is {shards}: give each client at least 1")
    _check(len(labels), clients * shards, clients, "data.clients times data.shards")
    draws = _draws(seed)
    rows = draws.permutation(len(labels))
    pieces = np.array_split(rows[np.argsort(labels[rows], kind="stable")], clients * shards)
    dealt = draws.permutation(len(pieces)).reshape(clients, shards)
    return [np.concatenate([pieces[piece] for piece in mine]) for mine in dealt]


def deal_dirichlet(labels: np.ndarray, clients: int, alpha: float, seed: int) -> Deal:
    """Deal the rows of each class by shares that are drawn from a symmetric Dirichlet distribution.

    Sizes differ, and a client may have no rows at all. A large alpha is nearly IID, a small one gives each class to few
    clients (Hsu et al. 2019, arXiv:1909.06335; here the shares are of a class over clients, as in Li et al. 2022,
    arXiv:2102.02079).

    Args:
        labels: integers [N].
        clients: how many.
        alpha: concentration, above 0.
        seed: of the deal.

    Raises:
        BadInput: `alpha` is not above 0.
    """
    if not 0 < alpha < np.inf:
        raise BadInput(f"data.alpha is {alpha}: give a number above 0")
    _check(len(labels), 1, clients, "data.clients")
    draws, parts = _draws(seed), []
    for label in np.unique(labels):
        rows = draws.permutation(np.flatnonzero(labels == label))
        # the logarithm of Gamma(alpha) is that of Gamma(alpha + 1) and of a uniform number: no underflow to 0 for all
        logs = np.log(draws.standard_gamma(alpha + 1, clients)) + np.log1p(-draws.random_sample(clients)) / alpha
        shares = np.exp(logs - logs.max())
        ends = np.round(np.cumsum(shares)[:-1] / shares.sum() * len(rows)).astype(np.int64)
        parts.append(np.split(rows, ends))
    return [np.concatenate(mine) for mine in zip(*parts, strict=True)]


def _draws(seed: int) -> np.random.RandomState:
    """Return a generator whose stream NumPy has frozen, which it has not for a `Generator`."""
    return np.random.RandomState(np.random.MT19937(np.random.SeedSequence([seed, 13])))


def _check(count: int, least: int, clients: int, what: str) -> None:
    if clients < 1:
        raise BadInput(f"data.clients is {clients}: give at least 1")
    if count < least:
        raise BadInput(f"{count} examples are fewer than {what} ({least}), so a client would have none: lower it")
