"""The loss of the ends of answers is optax's over the places of the context and [CLS], whatever the padding."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlm import steps
from jaxlm.losses import answer_spans
from jaxlm.models.bert import BERT
from jaxlm.models.heads import SpanClassifier

MODEL = SpanClassifier(BERT(vocab=11, depth=1, width=16, heads=2, context=20))


def batch_of(rows=8, width=9, seed=0):
    """Windows of random lengths with a target each, one without a target, one without an answer, one of padding."""
    draw = np.random.default_rng(seed)
    sizes = draw.integers(6, width + 1, rows)
    head = draw.integers(2, 4, rows)  # [CLS] and a question
    columns = np.arange(width)
    segments = (columns < sizes[:, None]).astype(np.int32)
    batch = {"segments": segments, "tokens": draw.integers(0, 11, (rows, width)).astype(np.int32) * segments}
    context = (columns >= head[:, None]) & (columns < sizes[:, None] - 1)
    batch["types"] = (columns >= head[:, None]).astype(np.int32) * segments
    batch["places"] = (context | (columns == 0)).astype(np.int32)
    ends = np.sort(draw.integers(head, sizes - 1, (2, rows)), 0).astype(np.int32)
    batch |= {"start": ends[0], "end": ends[1], "mask": np.ones(rows, np.float32)}
    batch["start"][1] = batch["end"][1] = -1
    batch["start"][2] = batch["end"][2] = 0
    for name in batch:
        batch[name][-1] = 0
    return batch


def params_of():
    params = jax.jit(MODEL.init)(jax.random.key(0), jnp.ones((1, 4), jnp.int32))["params"]
    return jax.tree.map(lambda x: 2 * x, params)


def test_it_is_optax_cross_entropy_over_the_places_of_answers():
    params, batch, apply = params_of(), batch_of(), jax.jit(MODEL.apply)
    metrics, _ = jax.jit(partial(answer_spans(MODEL), train=False))(params, {}, batch, jax.random.key(0))
    nats, right = [], []
    for row in (0, 2, 3, 4, 5, 6):
        real = batch["segments"][row] > 0
        inputs = [batch[name][row][real][None] for name in ("tokens", "segments", "types")]
        logits = apply({"params": params}, inputs[0], segments=inputs[1], types=inputs[2])[0]
        places = np.flatnonzero(batch["places"][row])
        ends = np.searchsorted(places, [batch["start"][row], batch["end"][row]])
        chosen = logits[places].T
        nats.append(float(optax.softmax_cross_entropy_with_integer_labels(chosen, ends).mean()))
        right.append((chosen.argmax(-1) == ends).all())
    assert metrics["loss"].compute() == pytest.approx(np.mean(nats), rel=1e-5)
    assert metrics["accuracy"].compute() == pytest.approx(np.mean(right))
    assert float(metrics["loss"].weight) == 6


def test_gradients_do_not_depend_on_padding_or_micro_batches_and_are_finite():
    params, batch = params_of(), batch_of()
    grad = steps.grad(answer_spans(MODEL))
    wider = {name: np.pad(x, ((0, 0), (0, 4))) if x.ndim == 2 else x for name, x in batch.items()}
    state = steps.init(MODEL, optax.sgd(0.1), np.ones((1, 4), np.int32), jax.random.key(0)).replace(params=params)
    found = [
        jax.jit(steps.update(make, optax.sgd(0.1)))(state, given)[0].params
        for make, given in ((grad, batch), (grad, wider), (steps.accumulate(grad, 4), batch))
    ]
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found[0]))
    for other in found[1:]:
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), found[0], other)


def test_places_that_hold_no_answer_have_no_gradient():
    batch = batch_of()

    class Logits:
        """A model whose parameters are its logits."""

        def apply(self, variables, tokens, **inputs):
            return variables["params"]

    params = jnp.asarray(np.random.default_rng(0).normal(size=(8, 9, 2)), jnp.float32)

    def total(params):
        return answer_spans(Logits())(params, {}, batch, jax.random.key(0), train=True)[0]["loss"].total

    grads = jax.grad(total)(params)
    counted = (batch["places"] > 0) & (batch["start"] >= 0)[:, None] & (batch["mask"] > 0)[:, None]
    assert not np.asarray(grads)[~counted].any()
    assert np.asarray(grads)[counted].all()
