"""Losses of numbers are their formulas, sums that add up, and have the gradient that is written by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import mean_pinball_loss, mean_poisson_deviance, mean_squared_error

from jaxlm import steps
from jaxlm.data.tables.targets import NumberTarget
from jaxlm.errors import BadInput
from jaxlm.losses import Regression
from jaxlm.models.table_mlp import TableMLP
from jaxlm.nn.feature_tokens import FeatureTokens

PLAIN = FeatureTokens(kind="none")
NONE = NumberTarget("y")


def batch_of(rows=24, seed=0):
    draw = np.random.default_rng(seed)
    y = draw.poisson(3, rows).astype(np.float32)
    numbers = draw.normal(size=(rows, 3)).astype(np.float32)
    return {"numbers": numbers, "target": y, "value": y, "mask": draw.choice([0, 0.5, 1], rows).astype(np.float32)}


MODEL = TableMLP(PLAIN, hidden=(5,))
PARAMS = MODEL.init(jax.random.key(0), batch_of()["numbers"][:1])["params"]


def sums(spec, batch, train=False, target=NONE):
    metrics, _ = spec(MODEL, target)(PARAMS, {}, batch, jax.random.key(0), train=train)
    return metrics


def test_each_loss_is_the_reference_with_its_weights():
    batch = batch_of()
    out = np.asarray(MODEL.apply({"params": PARAMS}, batch["numbers"]))[:, 0].astype(np.float64)
    y, weights = batch["target"].astype(np.float64), batch["mask"]

    def loss(**fields):
        return sums(Regression(**fields), batch)["loss"].compute()

    near = np.abs(out - y) <= 0.7
    huber = np.where(near, (out - y) ** 2 / 2, 0.7 * (np.abs(out - y) - 0.35))
    assert loss() == pytest.approx(mean_squared_error(y, out, sample_weight=weights), rel=1e-5)
    assert loss(kind="mae") == pytest.approx(2 * mean_pinball_loss(y, out, sample_weight=weights), rel=1e-5)
    assert loss(kind="huber", delta=0.7) == pytest.approx(np.average(huber, weights=weights), rel=1e-5)
    expected = mean_pinball_loss(y, out, sample_weight=weights, alpha=0.9)
    assert loss(kind="quantile", level=0.9) == pytest.approx(expected, rel=1e-5)
    # the deviance is twice the loss less that of the perfect rate, y
    perfect = np.average(y - y * np.log(np.where(y > 0, y, 1)), weights=weights)
    deviance = mean_poisson_deviance(y, np.exp(out), sample_weight=weights)
    assert 2 * (loss(kind="poisson") - perfect) == pytest.approx(deviance, rel=1e-4)


def test_numbers_are_measured_in_the_units_of_the_target():
    batch, target = batch_of(), NumberTarget("y", log=True, shift=0.5, scale=0.25, center=3.0)
    out = np.asarray(MODEL.apply({"params": PARAMS}, batch["numbers"]))[:, 0]
    found = sums(Regression(), batch, target=target)["errors"].compute()
    expected = np.average(np.abs(np.exp(0.5 + 0.25 * out) - batch["value"]), weights=batch["mask"])
    assert found["mae"] == pytest.approx(expected, rel=1e-5)
    rate = sums(Regression(kind="poisson"), batch)["errors"].compute()
    expected = np.average(np.abs(np.exp(out) - batch["value"]), weights=batch["mask"])
    assert rate["mae"] == pytest.approx(expected, rel=1e-5)
    assert "errors" not in sums(Regression(), batch, train=True)


@pytest.mark.parametrize("kind", ["mse", "huber", "quantile"])
def test_sums_and_gradients_do_not_depend_on_the_micro_batches_or_on_padding(kind):
    grad = steps.grad(Regression(kind=kind)(MODEL, NONE))
    batch = jax.tree.map(jnp.asarray, batch_of())
    whole = jax.jit(grad)(PARAMS, {}, batch, jax.random.key(0))
    parts = jax.jit(steps.accumulate(grad, 3))(PARAMS, {}, batch, jax.random.key(0))
    junk = jax.tree.map(lambda x: jnp.concatenate([x, jnp.full_like(x[:4], jnp.nan)]), batch)
    junk["mask"] = junk["mask"].at[-4:].set(0)
    padded = sums(Regression(kind=kind), junk)
    assert padded["errors"].compute() == pytest.approx(sums(Regression(kind=kind), batch)["errors"].compute())
    for one, other in zip(jax.tree.leaves(whole), jax.tree.leaves(parts), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_a_constant_that_minimises_a_loss_is_the_mean_the_median_the_quantile_or_the_logarithm_of_the_rate():
    y = jnp.asarray(np.random.default_rng(0).poisson(4, 4001), jnp.float32)
    guesses = jnp.linspace(0.01, 12, 1200)
    for fields, expected in (
        ({"kind": "mse"}, y.mean()),
        ({"kind": "mae"}, jnp.median(y)),
        ({"kind": "quantile", "level": 0.9}, jnp.quantile(y, 0.9)),
        ({"kind": "poisson"}, jnp.log(y.mean())),
    ):
        values = Regression(**fields).values
        totals = jax.vmap(lambda guess, values=values: values(guess, y).mean())(guesses)
        assert guesses[totals.argmin()] == pytest.approx(float(expected), abs=0.02)


def test_the_gradient_of_the_network_of_xor_is_the_one_written_by_hand():
    """Two inputs, two hidden units with ReLU, one output: backpropagation in float64, a line for each step."""
    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
    y = np.array([0, 1, 1, 0], np.float32)
    model = TableMLP(PLAIN, hidden=(2,))
    params = {
        "hidden_0": {"kernel": np.array([[1.1, -0.8], [0.9, -1.2]]), "bias": np.array([-0.1, 1.3])},
        "head": {"kernel": np.array([[0.7], [-0.6]]), "bias": np.array([0.2])},
    }
    params = jax.tree.map(lambda a: a.astype(np.float32), params)
    grad = steps.grad(Regression()(model, NONE))
    found, metrics, _ = grad(params, {}, {"numbers": x, "target": y, "value": y}, jax.random.key(0))

    (w1, b1), (w2, b2) = ([params[n][k].astype(np.float64) for k in ("kernel", "bias")] for n in ("hidden_0", "head"))
    z = x @ w1 + b1
    h = np.maximum(z, 0)
    o = (h @ w2 + b2)[:, 0]
    d_o = 2 * (o - y)[:, None]
    d_z = (d_o @ w2.T) * (z > 0)
    by_hand = {
        "hidden_0": {"kernel": x.T @ d_z, "bias": d_z.sum(0)},
        "head": {"kernel": h.T @ d_o, "bias": d_o.sum(0)},
    }
    assert metrics["loss"].compute() == pytest.approx(((o - y) ** 2).mean(), abs=1e-6)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(by_hand), strict=True):
        assert np.abs(other).max() > 0.01
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_numbers_of_a_loss_that_cannot_be_are_refused():
    for fields, message in (({"delta": 0.0}, "loss.delta is 0.0"), ({"level": 1.0}, "loss.level is 1.0")):
        with pytest.raises(BadInput, match=message):
            Regression(**fields)(MODEL, NONE)
    with pytest.raises(BadInput, match="loss.kind is poisson, whose target is a count that is not scaled"):
        Regression(kind="poisson")(MODEL, NumberTarget("y", scale=2.0))
