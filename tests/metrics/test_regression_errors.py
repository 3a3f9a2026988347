"""R2 and errors are scikit-learn's, as sums over any batches and devices; areas do not depend on the batches at all."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import log_loss, mean_absolute_error, r2_score, roc_auc_score, root_mean_squared_error

from jaxlm.metrics import RegressionErrors, compute, merge
from jaxlm.metrics.ranking import ClassRanking
from jaxlm.train.evaluate import measure
from parallel.parallel_helpers import PLACES, each


def numbers(rows, seed=0, offset=0.0):
    draw = np.random.default_rng(seed)
    y = offset + 1e5 * draw.gamma(2, size=rows)
    mask = draw.choice([0, 0.5, 1], rows)
    return {k: x.astype(np.float32) for k, x in {"p": y + 3e4 * draw.normal(size=rows), "y": y, "mask": mask}.items()}


def errors(state, batch):
    return {"errors": RegressionErrors.from_values(batch["p"], batch["y"], batch["mask"], 2e5)}


def batches_of(batch, size):
    """In order; the last one filled up with rows of mask 0."""
    fill = -len(batch["mask"]) % size
    filled = {name: np.pad(x, (0, fill)) for name, x in batch.items()}
    for start in range(0, len(filled["mask"]), size):
        yield {name: x[start : start + size] for name, x in filled.items()}


def expected(batch):
    y, p, weights = (batch[name].astype(np.float64) for name in ("y", "p", "mask"))
    scores = {"r2": r2_score, "rmse": root_mean_squared_error, "mae": mean_absolute_error}
    return {name: score(y, p, sample_weight=weights) for name, score in scores.items()}


@pytest.mark.parametrize("size", [1, 7, 64, 203])
def test_they_are_scikit_learns_whatever_the_batches(size):
    batch = numbers(203)
    found = compute(measure(jax.jit(errors), None, batches_of(batch, size)))
    assert found == pytest.approx(expected(batch), rel=1e-5)


@pytest.mark.parametrize("name", each(PLACES))
def test_they_are_the_same_on_any_devices(name):
    batch, place = numbers(61), PLACES[name]
    program = place.compile(place.reduce_metrics(errors), donate=False)
    found = compute(measure(program, jnp.zeros(()), map(place.put, batches_of(batch, 16))))
    assert found == pytest.approx(expected(batch), rel=1e-5)


def test_a_mean_far_from_0_costs_no_digits_where_the_center_is_near_it():
    batch = numbers(4000, offset=2e8)
    batch["p"] = batch["y"] + np.random.default_rng(1).normal(size=4000).astype(np.float32) * 3e4
    sums = RegressionErrors.from_values(*(jnp.asarray(batch[k]) for k in ("p", "y", "mask")), 2e8)
    assert sums.compute() == pytest.approx(expected(batch), rel=1e-4)
    lost = RegressionErrors.from_values(*(jnp.asarray(batch[k]) for k in ("p", "y", "mask")))
    assert abs(lost.compute()["r2"] - expected(batch)["r2"]) > 1e-3


def test_nothing_counted_is_nan_and_so_is_the_r2_of_equal_targets():
    ones = jnp.ones(3)
    nothing = RegressionErrors.from_values(ones, ones * jnp.nan, 0 * ones).compute()
    assert all(np.isnan(x) for x in nothing.values())
    assert np.isnan(RegressionErrors.from_values(ones, ones, ones, 1.0).compute()["r2"])


@pytest.mark.parametrize("classes", [2, 4])
def test_areas_and_log_loss_are_scikit_learns_and_merge_in_any_parts(classes):
    draw = np.random.default_rng(classes)
    labels, logits = draw.integers(0, classes, 150), draw.normal(size=(150, classes))
    logits[np.arange(150), labels] += 1
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    whole = ClassRanking(logits, labels).compute()
    auc = roc_auc_score(labels, p[:, 1] if classes == 2 else p, multi_class="ovr")
    assert whole == pytest.approx({"auc": auc, "log_loss": log_loss(labels, p)}, rel=1e-9)
    parts = [{"r": ClassRanking(logits[a:b], labels[a:b])} for a, b in ((0, 1), (1, 90), (90, 150))]
    assert merge(*parts)["r"].compute() == whole
    assert np.isnan(ClassRanking(logits[:1], labels[:1]).compute()["auc"])
    assert np.isnan(list(ClassRanking(np.full((150, classes), np.nan), labels).compute().values())).all()
    assert np.isnan(ClassRanking(np.where(logits > 1, np.inf, logits), labels).compute()["auc"])
    constant = ClassRanking(np.zeros((150, classes)), labels).compute()
    assert constant["auc"] == 0.5  # a scorer that knows nothing scores chance
