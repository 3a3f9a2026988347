"""What private updates spend, by the library dp-accounting, of which this file is the home."""

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from types import ModuleType
from typing import Any

import numpy as np

from jaxlm.errors import BadInput
from jaxlm.privacy.settings import LEAST_NOISE, AccountantName

INTERVAL = 5e-4  # of discretised privacy losses, rounded up: 0.1 % of epsilon, at a fifth of the library's time
LARGEST = 1e4  # noise multiplier that is tried
DIGITS = 4  # of the noise multiplier that is found


def spent(kind: AccountantName, rate: float, noise_multiplier: float, updates: int, delta: float) -> float:
    """Compute epsilon after some updates of the Poisson-sampled Gaussian mechanism, towards adding or removing one.

    Args:
        kind: "pld" or "rdp".
        rate: probability of an example to be in a batch.
        noise_multiplier: standard deviation of the noise over the clip norm.
        updates: how many.
        delta: the probability with which the guarantee may fail.

    Returns:
        An upper bound of epsilon.

    Raises:
        BadInput: dp-accounting is not installed.
    """
    if updates == 0:
        return 0.0
    library = _library()
    if kind == "pld":
        with np.errstate(all="ignore"):  # a quotient that is infinite is an epsilon that is
            return float(_distribution(rate, noise_multiplier).self_compose(updates).get_epsilon_for_delta(delta))
    accountant = library.rdp.RdpAccountant()
    event = library.PoissonSampledDpEvent(rate, library.GaussianDpEvent(noise_multiplier))
    with _quiet():
        return float(accountant.compose(event, updates).get_epsilon(delta))


@lru_cache(maxsize=256)
def find_noise(kind: AccountantName, rate: float, updates: int, epsilon: float, delta: float) -> float:
    """Return the least noise multiplier, to four digits, that keeps some updates to (epsilon, delta).

    Raises:
        BadInput: no noise is enough, or dp-accounting is not installed.
    """

    def fits(noise: float) -> bool:
        return spent(kind, rate, noise, updates, delta) <= epsilon

    low, high = LEAST_NOISE, 2 * LEAST_NOISE
    if fits(low):
        return low
    while not fits(high):
        low, high = high, 2 * high
        if high > LARGEST:
            raise BadInput(
                f"privacy.epsilon {epsilon:g} at delta {delta:g} cannot be reached in {updates:,} updates at a rate "
                f"of {rate:.3g}, whatever the noise: raise epsilon or delta, or lower run.steps"
            )
    while high - low > 10 ** (math.floor(math.log10(high)) - DIGITS):
        middle = (low + high) / 2
        low, high = (low, middle) if fits(middle) else (middle, high)
    return _rounded_up(high)


def updates_within(kind: AccountantName, rate: float, noise_multiplier: float, epsilon: float, delta: float) -> int:
    """Return how many updates keep to (epsilon, delta)."""

    def fits(updates: int) -> bool:
        return spent(kind, rate, noise_multiplier, updates, delta) <= epsilon

    low, high = 0, 1
    while fits(high) and high < 1 << 30:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _rounded_up(noise: float) -> float:
    scale = 10 ** (DIGITS - 1 - math.floor(math.log10(noise)))
    return math.ceil(noise * scale) / scale


@lru_cache(maxsize=8)
def _distribution(rate: float, noise_multiplier: float) -> Any:
    from_gaussian = _library().pld.privacy_loss_distribution.from_gaussian_mechanism
    return from_gaussian(noise_multiplier, sampling_prob=rate, value_discretization_interval=INTERVAL)


@lru_cache(maxsize=1)
def _library() -> ModuleType:
    try:
        import dp_accounting
        import dp_accounting.pld
        import dp_accounting.rdp
    except ImportError:
        raise BadInput("privacy needs dp-accounting: pip install 'jaxlm[privacy]'") from None
    return dp_accounting


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the warnings about orders of the Rényi divergence that are left out, which only raises epsilon."""
    logger = logging.getLogger("absl")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before
