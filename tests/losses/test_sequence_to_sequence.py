"""The loss of target tokens is optax's on smoothed labels, whatever the padding and the micro-batches."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlm import steps
from jaxlm.errors import BadInput
from jaxlm.losses import SequenceToSequence, sequence_to_sequence
from jaxlm.models.transformer import Transformer

MODEL = Transformer(vocab=11, depth=1, width=16, heads=2, dropout=0.0)
START = 3


def batch_of(rows=6, width=7, seed=0):
    """Pairs of random lengths, padded with zeros."""
    draw = np.random.default_rng(seed)
    sizes = {name: draw.integers(1, width + 1, rows) for name in ("source", "target")}
    batch = {f"{name}_segments": (np.arange(width) < sizes[name][:, None]).astype(np.int32) for name in sizes}
    for name, segments in (("tokens", "source_segments"), ("targets", "target_segments")):
        batch[name] = draw.integers(0, 11, (rows, width)).astype(np.int32) * batch[segments]
    return batch


def variables_of():
    example = jnp.ones((1, 4), jnp.int32)
    return jax.tree.map(lambda x: 2 * x, jax.jit(MODEL.init)(jax.random.key(0), example, example))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("train", [True, False])
def test_it_is_optax_cross_entropy_over_the_real_targets(smoothing, train):
    params, batch, apply = variables_of()["params"], batch_of(), jax.jit(MODEL.apply)
    loss = jax.jit(partial(sequence_to_sequence(MODEL, START, smoothing), train=train))
    metrics, _ = loss(params, {}, batch, jax.random.key(0))
    total, count, right = 0.0, 0, 0
    for row in range(6):  # each pair alone and without padding
        source, target = (
            batch[name][row][batch[segments][row] > 0][None]
            for name, segments in (("tokens", "source_segments"), ("targets", "target_segments"))
        )
        given = np.concatenate([[[START]], target[:, :-1]], 1)
        logits = apply({"params": params}, source, given)
        labels = optax.smooth_labels(jax.nn.one_hot(target, 11), smoothing if train else 0.0)
        total += float(optax.softmax_cross_entropy(logits, labels).sum())
        right += int((logits.argmax(-1) == target).sum())
        count += target.size
    assert metrics["loss"].compute() == pytest.approx(total / count, rel=1e-5)
    assert metrics["accuracy"].compute() == pytest.approx(right / count)
    if not train:
        assert metrics["perplexity"].compute() == pytest.approx(np.exp(total / count), rel=1e-5)


def test_gradients_do_not_depend_on_padding_or_micro_batches():
    params, batch = variables_of()["params"], batch_of()
    grad = steps.grad(sequence_to_sequence(MODEL, START, 0.1))
    wider = {name: np.pad(x, ((0, 0), (0, 5))) for name, x in batch.items()}
    example = np.ones((1, 4), np.int32), np.ones((1, 4), np.int32)
    state = steps.init(MODEL, optax.sgd(0.1), example, jax.random.key(0)).replace(params=params)
    found = [
        jax.jit(steps.update(make, optax.sgd(0.1)))(state, given)[0].params
        for make, given in ((grad, batch), (grad, wider), (steps.accumulate(grad, 3), batch))
    ]
    for other in found[1:]:
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), found[0], other)


def test_a_smoothing_outside_of_its_range_is_refused():
    with pytest.raises(BadInput, match=r"loss.smoothing is 1.0"):
        SequenceToSequence(smoothing=1.0)(MODEL)
