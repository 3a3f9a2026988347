"""Distances between sets of pictures, against closed forms."""

import numpy as np
import pytest

from jaxlm.metrics.pictures import frechet_distance, gaussian_distance, kernel_distance


def test_between_normal_distributions_with_diagonal_covariances_it_is_the_sum_of_the_axes():
    one, other = np.array([1.0, 4.0, 0.25]), np.array([9.0, 1.0, 0.25])
    mean = np.array([0.5, -1.0, 2.0])
    expected = np.square(mean).sum() + np.square(np.sqrt(one) - np.sqrt(other)).sum()
    assert gaussian_distance(np.zeros(3), np.diag(one), mean, np.diag(other)) == pytest.approx(expected, rel=1e-12)
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    turned = [turn @ np.diag(x) @ turn.T for x in (one, other)]
    assert gaussian_distance(np.zeros(3), turned[0], turn @ mean, turned[1]) == pytest.approx(expected, rel=1e-10)


def test_where_covariances_do_not_commute_it_is_that_of_two_by_two_matrices():
    one, other = np.array([[2.0, 0.5], [0.5, 1.0]]), np.array([[1.0, -0.7], [-0.7, 3.0]])
    product = one @ other  # tr sqrt(M) = sqrt(tr M + 2 sqrt det M) for 2 x 2 matrices with positive eigenvalues
    root = np.sqrt(np.trace(product) + 2 * np.sqrt(np.linalg.det(product)))
    expected = np.trace(one) + np.trace(other) - 2 * root
    assert gaussian_distance(np.zeros(2), one, np.zeros(2), other) == pytest.approx(expected, rel=1e-12)


def test_sets_are_compared_by_their_moments_in_float64():
    draw = np.random.default_rng(1)
    one, other = draw.normal(size=(40, 5)), draw.normal(1, 2, size=(30, 5))
    moments = [(x.mean(0), np.cov(x.T)) for x in (one, other)]
    assert frechet_distance(one, other) == pytest.approx(gaussian_distance(*moments[0], *moments[1]), rel=1e-12)
    assert frechet_distance(one, one) == pytest.approx(0, abs=1e-9)
    far = (one + 1e4).astype(np.float32)  # float32 moments would be off by more than 1
    assert frechet_distance(far, far + np.float32(1)) == pytest.approx(5, rel=1e-3)


def test_fewer_pictures_than_features_give_a_real_number():
    draw = np.random.default_rng(2)
    one, other = draw.normal(size=(4, 10)), draw.normal(size=(5, 10))
    assert 0 < frechet_distance(one, other) == pytest.approx(frechet_distance(other, one), rel=1e-6)


def test_large_samples_have_the_distance_of_their_distributions():
    draw = np.random.default_rng(3)
    one, other = draw.normal(size=(20000, 2)), draw.normal([1, 0], [1, 3], size=(20000, 2))
    assert frechet_distance(one, other) == pytest.approx(1 + 4, rel=0.05)


def test_the_kernel_distance_is_that_of_loops_without_the_diagonal():
    draw = np.random.default_rng(4)
    one, other = draw.normal(size=(5, 3)), draw.normal(1, 1, size=(4, 3))

    def kernel(x, y):
        return (x @ y / 3 + 1) ** 3

    def within(rows):
        return np.mean([kernel(x, y) for i, x in enumerate(rows) for j, y in enumerate(rows) if i != j])

    across = np.mean([kernel(x, y) for x in one for y in other])
    assert kernel_distance(one, other) == pytest.approx(within(one) + within(other) - 2 * across, rel=1e-10)


def test_the_kernel_distance_is_unbiased_and_has_its_closed_form():
    draw = np.random.default_rng(5)
    same = [kernel_distance(draw.normal(size=(20, 1)), draw.normal(size=(20, 1))) for _ in range(400)]
    assert abs(np.mean(same)) < 3 * np.std(same) / 20
    one, other = draw.normal(size=(4000, 1)), draw.normal(1, 1, size=(4000, 1))
    # moments of N(0, 1) are 0, 1, 0 and of N(1, 1) are 1, 2, 4; the kernel is 1 + 3 x y + 3 x^2 y^2 + x^3 y^3
    assert kernel_distance(one, other) == pytest.approx(3 * 1 + 3 * 1 + 16, rel=0.15)
