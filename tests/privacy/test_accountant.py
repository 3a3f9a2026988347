"""What is spent, against published figures, an independent integral, and the laws of composition."""

import math

import numpy as np
import pytest

from jaxlm.errors import BadInput
from jaxlm.privacy import Privacy, make_plan
from jaxlm.privacy.plan import largest_batch

try:
    import dp_accounting
except ImportError:
    dp_accounting = None
from jaxlm.privacy.accountant import find_noise, spent, updates_within

needs_library = pytest.mark.skipif(
    dp_accounting is None, reason="dp-accounting is not installed: pip install 'jaxlm[privacy]'"
)
MNIST = {"rate": 256 / 60_000, "noise_multiplier": 1.1, "updates": 60 * 60_000 // 256}  # of TF-Privacy's tutorial


def rdp_by_quadrature(rate, noise, order):
    """Rényi divergence of the sampled Gaussian: log E[(1 - q + q exp((2x - 1) / (2 s^2)))^a] / (a - 1), x ~ N(0, s^2).

    Mironov et al. 2019, arXiv:1908.10530, equation 5; the integral by the trapezoidal rule.
    """
    x, step = np.linspace(-30 * noise, 30 * noise + order, 400_001, retstep=True)
    log_density = -(x**2) / (2 * noise**2) - math.log(noise * math.sqrt(2 * math.pi))
    log_ratio = np.logaddexp(math.log1p(-rate), math.log(rate) + (2 * x - 1) / (2 * noise**2))
    return (np.logaddexp.reduce(log_density + order * log_ratio) + math.log(step)) / (order - 1)


def test_published_epsilon_of_mnist_by_an_integral():
    """TF-Privacy's 3.01 for noise 1.1, batches of 256, 60 epochs at delta 1e-5, with the conversion of its time."""
    orders = [order / 4 for order in range(20, 61)]
    divergences = [rdp_by_quadrature(MNIST["rate"], MNIST["noise_multiplier"], order) for order in orders]
    epsilons = [MNIST["updates"] * d - math.log(1e-5) / (a - 1) for a, d in zip(orders, divergences, strict=True)]
    assert min(epsilons) == pytest.approx(3.01, abs=0.005)


@pytest.mark.slow  # those tests alone have the extra
@needs_library
def test_the_library_agrees_with_the_integral_and_its_conversion_is_tighter():
    """The improved conversion of Canonne et al. 2020, arXiv:2004.00010, proposition 12, of the same divergences."""
    orders = [order / 4 for order in range(20, 61)]
    tighter = [
        MNIST["updates"] * rdp_by_quadrature(MNIST["rate"], MNIST["noise_multiplier"], order)
        + math.log1p(-1 / order)
        - math.log(1e-5 * order) / (order - 1)
        for order in orders
    ]
    rdp, pld = spent("rdp", **MNIST, delta=1e-5), spent("pld", **MNIST, delta=1e-5)
    assert rdp == pytest.approx(min(tighter), rel=1e-3)
    assert rdp == pytest.approx(2.5966, abs=1e-3)
    assert pld == pytest.approx(2.382, abs=0.01)


@pytest.mark.slow  # those tests alone have the extra
@needs_library
@pytest.mark.parametrize("kind", ["pld", "rdp"])
def test_noise_is_the_least_that_keeps_to_epsilon(kind):
    noise = find_noise(kind, 0.05, 200, 3.0, 1e-5)
    assert 2.95 < spent(kind, 0.05, noise, 200, 1e-5) <= 3.0 < spent(kind, 0.05, noise * 0.998, 200, 1e-5)


@pytest.mark.slow  # those tests alone have the extra
@needs_library
def test_epsilon_grows_with_updates_and_stops_at_the_cap():
    grown = [spent("pld", 0.05, 1.5, updates, 1e-5) for updates in (0, 1, 10, 100)]
    assert grown[0] == 0
    assert grown == sorted(grown)
    most = updates_within("pld", 0.05, 1.5, 2.0, 1e-5)
    assert spent("pld", 0.05, 1.5, most, 1e-5) <= 2.0 < spent("pld", 0.05, 1.5, most + 1, 1e-5)
    with pytest.raises(BadInput, match=rf"noise_multiplier 1.5 spends epsilon .* lower run.steps to {most - 1},?\d*"):
        make_plan(Privacy(epsilon=spent("pld", 0.05, 1.5, most - 1, 0.999e-5), noise_multiplier=1.5), 2000, 100, 900)


@pytest.mark.slow  # those tests alone have the extra
@needs_library
def test_an_epsilon_that_no_noise_reaches_is_refused():
    with pytest.raises(BadInput, match="cannot be reached in 1,000 updates"):
        make_plan(Privacy(epsilon=1e-5), 1000, 100, 1000)


def test_batches_larger_than_the_room_are_as_rare_as_delta_pays_for():
    """Against the tail of the binomial distribution, added up term by term."""
    examples, rate, updates, epsilon, delta = 300, 0.1, 50, 1.0, 1e-8
    limit = largest_batch(examples, rate, updates, epsilon, delta)

    def cost(room):
        tail = math.fsum(
            math.comb(examples, k) * rate**k * (1 - rate) ** (examples - k) for k in range(room + 1, examples + 1)
        )
        return (1 + math.exp(epsilon)) * updates * tail

    assert cost(limit) <= delta < cost(limit - 1)
    assert largest_batch(10, 0.9, updates, epsilon, delta) == 10  # no more than there are


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "privacy.epsilon is not set"),
        ({"epsilon": 0.0}, "privacy.epsilon is 0.0: give a finite number above 0"),
        ({"epsilon": math.inf}, "privacy.epsilon is inf"),
        ({"epsilon": 1.0, "delta": 0.0}, "privacy.delta is 0.0: give a probability between 0 and 1"),
        ({"epsilon": 1.0, "delta": 1.0}, "privacy.delta is 1.0"),
        ({"epsilon": 1.0, "clip_norm": -1.0}, "privacy.clip_norm is -1.0"),
        ({"noise_multiplier": math.nan}, "privacy.noise_multiplier is nan"),
        ({"noise_multiplier": 0.1}, "privacy.noise_multiplier is 0.1, which hides nobody"),
        ({"epsilon": 1.0, "copies": 0}, "privacy.copies is 0"),
    ],
)
def test_numbers_that_cannot_be_are_one_line(fields, message):
    with pytest.raises(BadInput, match=message):
        Privacy(**fields).validate()


def test_a_missing_library_is_one_line(monkeypatch):
    from jaxlm.privacy import accountant

    monkeypatch.setitem(__import__("sys").modules, "dp_accounting", None)
    accountant._library.cache_clear()
    with pytest.raises(BadInput, match=r"pip install 'jaxlm\[privacy\]'"):
        spent("rdp", 0.1, 1.0, 10, 1e-5)
    accountant._library.cache_clear()
