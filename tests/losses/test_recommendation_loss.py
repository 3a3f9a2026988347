"""Losses of recommenders against NumPy in float64, and what may not change them: padding, masks, micro-batches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlm import steps
from jaxlm.losses import next_item, recommendation
from jaxlm.models.factorization import MatrixFactorization
from jaxlm.models.sasrec import SASRec

MODEL = MatrixFactorization(users=5, items=9, width=3, std=0.5)
KEY = jax.random.key(0)
PARAMS = jax.jit(MODEL.init)(KEY, np.zeros(1, np.int32), np.zeros((1, 1), np.int32))["params"]
PAIRS = {
    "user": np.array([0, 3, 4, 1], np.int32),
    "positives": np.array([[2], [8], [0], [5]], np.int32),
    "negatives": np.array([[1, 3], [7, 0], [4, 4], [6, 2]], np.int32),
}
USERS = {
    "user": np.array([0, 3, 4, 1], np.int32),
    "positives": np.array([[2, 1, -1], [8, -1, -1], [0, 5, 7], [6, 2, -1]], np.int32),
}


SCORES = np.asarray(jax.jit(MODEL.apply)({"params": PARAMS}, np.arange(5)), np.float64)


def by_hand(objective, batch):
    """The sum of the loss, in float64."""
    total = 0.0
    for row, user in enumerate(batch["user"]):
        own = SCORES[user]
        met = [item for item in batch["positives"][row] if item >= 0]
        for item in met:
            s, others = own[item], own[batch["negatives"][row]] if "negatives" in batch else own
            total += {
                "logistic": lambda s=s, n=others: np.log1p(np.exp(-s)) + np.log1p(np.exp(n)).sum(),
                "bpr": lambda s=s, n=others: np.log1p(np.exp(n - s)).mean(),
                "sampled_softmax": lambda s=s, n=others: np.log(np.exp(s) + np.exp(n).sum()) - s,
                "softmax": lambda s=s, n=others: np.log(np.exp(n).sum()) - s,
                "squared": lambda s=s, n=others, met=met: (s - 1) ** 2 + 0.3 * (n**2).sum() / len(met),
            }[objective]()
    return total


@pytest.mark.parametrize("objective", ["logistic", "bpr", "sampled_softmax", "softmax", "squared"])
def test_losses_are_their_formulas_and_padding_and_masks_add_nothing(objective):
    batch = USERS if objective in ("softmax", "squared") else PAIRS
    loss = jax.jit(lambda batch: recommendation(MODEL, objective, 0.3)(PARAMS, {}, batch, KEY, train=True)[0]["loss"])
    found = loss(batch)
    np.testing.assert_allclose(found.total, by_hand(objective, batch), rtol=1e-5)
    assert found.weight == (batch["positives"] >= 0).sum()
    wider = batch | {"positives": np.pad(batch["positives"], ((0, 0), (0, 2)), constant_values=-1)}
    np.testing.assert_allclose(loss(wider).total, found.total, rtol=1e-6)
    masked = loss(batch | {"mask": np.array([1, 1, 0, 0], np.float32)})
    np.testing.assert_allclose(masked.total, by_hand(objective, {name: x[:2] for name, x in batch.items()}), rtol=1e-5)


@pytest.mark.parametrize("objective", ["bpr", "softmax"])
def test_micro_batches_have_the_gradient_of_the_whole(objective):
    batch = USERS if objective == "softmax" else PAIRS
    grad = steps.grad(recommendation(MODEL, objective))
    whole, parts = (jax.jit(steps.accumulate(grad, count))(PARAMS, {}, batch, KEY)[0] for count in (1, 2))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), whole, parts)


def test_the_loss_of_the_next_item_is_that_of_each_prefix():
    model = SASRec(items=9, context=3, depth=1, width=8, dropout=0.0)
    params = jax.jit(model.init)(KEY, np.zeros(1, np.int32))["params"]
    apply = jax.jit(lambda seen: model.apply({"params": params}, jnp.zeros(1, jnp.int32), seen=seen))
    batch = {"user": np.arange(3), "positives": np.array([[2, 1, 5, 0, 7], [8, 3, -1, -1, -1], [4, -1, -1, -1, -1]])}
    total = 0.0
    for row, first in ((0, 1), (1, 0)):  # the last three items before the last one of the first row are read
        met = [item for item in batch["positives"][row] if item >= 0]
        for place in range(first, len(met) - 1):
            seen = np.full((1, 4), -1)
            seen[0, : place + 1 - first] = met[first : place + 1]
            logits = np.asarray(apply(seen), np.float64)[0]
            total += np.log(np.exp(logits).sum()) - logits[met[place + 1]]
    found = jax.jit(lambda batch: next_item(model)(params, {}, batch, KEY, train=False)[0]["loss"])(batch)
    np.testing.assert_allclose(found.total, total, rtol=1e-5)
    assert found.weight == 4
