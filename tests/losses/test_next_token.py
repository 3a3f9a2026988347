"""The loss of a language model against its formula, in NumPy and in torch."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxlm import steps
from jaxlm.losses import next_token
from jaxlm.losses.next_token import cross_entropy

ROWS, LENGTH, VOCAB = 3, 4, 5


class Table:
    """A model that answers with its parameters: the logits of every place are what is trained."""

    def __init__(self):
        self.calls = []

    def apply(self, variables, tokens, **options):
        self.calls.append((variables, tokens, options))
        return variables["params"]["logits"]


def draw(seed, scale=3.0):
    numbers = np.random.default_rng(seed)
    logits = (scale * numbers.normal(size=(ROWS, LENGTH, VOCAB))).astype(np.float32)
    tokens, targets = numbers.integers(0, VOCAB, (2, ROWS, LENGTH)).astype(np.int32)
    mask = (np.arange(LENGTH)[None] < numbers.integers(0, LENGTH + 1, (ROWS, 1))).astype(np.float32)
    mask[0, 0] = 0.5
    return logits, {"tokens": tokens, "targets": targets, "mask": mask}


def measure(logits, batch, token_bytes=None):
    return measured(jnp.asarray(logits), batch, token_bytes)


@partial(jax.jit, static_argnums=2)
def measured(logits, batch, token_bytes):
    metrics, _ = next_token(Table(), token_bytes)({"logits": logits}, {}, batch, None, train=False)
    return metrics


def numpy_nats(logits, targets):
    logits = np.asarray(logits, np.float64)
    shifted = logits - logits.max(-1, keepdims=True)
    log_probability = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return -np.take_along_axis(log_probability, targets[..., None], -1)[..., 0]


@given(st.integers(0, 9999), st.sampled_from([0.1, 3.0, 30.0]))
@settings(max_examples=30, deadline=None)
def test_the_loss_is_the_cross_entropy_of_the_unmasked_targets(seed, scale):
    logits, batch = draw(seed, scale)
    metrics = measure(logits, batch)
    expected = numpy_nats(logits, batch["targets"]) * batch["mask"]
    np.testing.assert_allclose(metrics["loss"].total, expected.sum(), rtol=1e-5, atol=1e-5)
    assert metrics["loss"].weight == metrics["accuracy"].weight == batch["mask"].sum()
    correct = logits.argmax(-1) == batch["targets"]
    np.testing.assert_allclose(metrics["accuracy"].total, (correct * batch["mask"]).sum(), rtol=1e-6)


def test_loss_and_gradient_equal_those_of_torch():
    torch = pytest.importorskip("torch")
    logits, batch = draw(1)
    theirs = torch.tensor(logits, requires_grad=True)
    targets = torch.tensor(batch["targets"], dtype=torch.int64).reshape(-1)
    nats = torch.nn.functional.cross_entropy(theirs.reshape(-1, VOCAB), targets, reduction="none")
    total = (nats * torch.tensor(batch["mask"]).reshape(-1)).sum()
    total.backward()
    loss = lambda params: next_token(Table())(params, {}, batch, None, train=False)[0]["loss"].total  # noqa: E731
    ours, gradient = jax.value_and_grad(loss)({"logits": jnp.asarray(logits)})
    np.testing.assert_allclose(ours, total.item(), rtol=1e-6)
    np.testing.assert_allclose(gradient["logits"], theirs.grad.numpy(), atol=1e-6)


@jax.jit
@jax.grad
def gradient_of_nats(logits, targets, mask):
    return (cross_entropy(logits, targets)[0] * mask).sum()


@given(st.integers(0, 9999))
@settings(max_examples=20, deadline=None)
def test_the_gradient_is_the_softmax_less_one_at_the_target(seed):
    logits, batch = draw(seed)
    exponential = np.exp(logits.astype(np.float64))
    softmax = exponential / exponential.sum(-1, keepdims=True)
    expected = (softmax - np.eye(VOCAB)[batch["targets"]]) * batch["mask"][..., None]
    np.testing.assert_allclose(gradient_of_nats(logits, batch["targets"], batch["mask"]), expected, atol=1e-6)


def test_without_a_mask_every_target_counts_once():
    logits, batch = draw(2)
    mask = np.ones_like(batch.pop("mask"))
    masked, unmasked = measure(logits, batch | {"mask": mask}), measure(logits, batch)
    assert unmasked == masked
    assert unmasked["loss"].weight == ROWS * LENGTH


def test_what_is_masked_out_changes_neither_loss_nor_gradient():
    logits, batch = draw(3)
    other = np.where(batch["mask"][..., None] == 0, np.float32(7), logits)
    other[..., 0] = np.where(batch["mask"] == 0, 50, logits[..., 0])
    assert measure(other, batch) == measure(logits, batch)
    total = lambda params: next_token(Table())(params, {}, batch, None, train=False)[0]["loss"].total  # noqa: E731
    gradient = jax.grad(total)({"logits": jnp.asarray(other)})["logits"]
    assert (np.asarray(gradient)[batch["mask"] == 0] == 0).all()


@pytest.mark.parametrize("size", [1e2, 1e4, 1e30])
def test_large_logits_stay_finite_forward_and_backward(size):
    logits = jnp.asarray([[[size, -size, 0.0], [size, size, -size]]], jnp.float32)
    targets = jnp.asarray([[0, 1]])
    nats, gradient = jax.value_and_grad(lambda x: cross_entropy(x, targets)[0].sum())(logits)
    assert nats == pytest.approx(math.log(2), rel=1e-6)
    np.testing.assert_allclose(gradient, [[[0, 0, 0], [0.5, -0.5, 0]]], atol=1e-6)
    wrong, _ = cross_entropy(logits, jnp.asarray([[1, 2]]))
    np.testing.assert_allclose(wrong, [[2 * size, 2 * size + math.log(2)]], rtol=1e-6)


def test_a_shift_of_all_logits_changes_nothing():
    logits, batch = draw(4)
    np.testing.assert_allclose(
        measure(logits + 64, batch)["loss"].total, measure(logits, batch)["loss"].total, rtol=1e-5
    )


def test_logits_in_bfloat16_are_summed_in_float32():
    logits, batch = draw(5)
    half = jnp.asarray(logits, jnp.bfloat16)
    metrics = measure(half, batch)
    assert metrics["loss"].total.dtype == metrics["loss"].weight.dtype == jnp.float32
    expected = numpy_nats(np.asarray(half, np.float32), batch["targets"]) * batch["mask"]
    np.testing.assert_allclose(metrics["loss"].total, expected.sum(), rtol=1e-5)


def test_bits_per_byte_are_the_bits_of_the_targets_over_their_bytes():
    probabilities = np.array([[[0.5, 0.25, 0.25], [0.125, 0.5, 0.375], [0.2, 0.3, 0.5]]], np.float32)
    batch = {
        "tokens": np.zeros((1, 3), np.int32),
        "targets": np.array([[0, 0, 2]], np.int32),
        "mask": np.array([[1.0, 1.0, 0.0]], np.float32),
    }
    metrics = measure(np.log(probabilities), batch, token_bytes=(3, 1, 8))
    assert metrics["bits_per_byte"].weight == 6  # two targets of three bytes
    assert metrics["bits_per_byte"].compute() == pytest.approx((1 + 3) / 6, rel=1e-6)  # one bit and three bits


def test_bits_per_byte_do_not_depend_on_how_the_text_is_cut_into_tokens():
    """Two tokens of probability 1/2 and one byte each say as much as one token of 1/4 and two bytes."""
    fine = {"tokens": np.zeros((1, 2), np.int32), "targets": np.array([[0, 0]], np.int32)}
    coarse = {"tokens": np.zeros((1, 1), np.int32), "targets": np.array([[1]], np.int32)}
    of_fine = measure(np.log(np.float32([[[0.5, 0.5]] * 2])), fine, token_bytes=(1, 2))["bits_per_byte"]
    of_coarse = measure(np.log(np.float32([[[0.75, 0.25]]])), coarse, token_bytes=(1, 2))["bits_per_byte"]
    assert of_fine.compute() == pytest.approx(1.0, rel=1e-6)
    assert of_coarse.compute() == pytest.approx(1.0, rel=1e-6)


def test_without_the_bytes_of_tokens_there_are_no_bits_per_byte():
    assert set(measure(*draw(6))) == {"loss", "accuracy", "perplexity"}


def test_perplexity_is_the_exponential_of_the_loss():
    numbers = steps.compute(measure(*draw(9)))
    assert numbers["perplexity"] == pytest.approx(math.exp(numbers["loss"]), rel=1e-9)
    assert measure(np.zeros((1, 2, VOCAB)), {"targets": np.int32([[0, 3]]), "tokens": None})[
        "perplexity"
    ].compute() == (pytest.approx(VOCAB, rel=1e-6))


@pytest.mark.parametrize("given_names", [(), ("segments",), ("segments", "positions")])
def test_segments_and_positions_reach_the_model_where_the_batch_has_them(given_names):
    logits, batch = draw(7)
    layout = {name: np.full((ROWS, LENGTH), i, np.int32) for i, name in enumerate(given_names)}
    model, variables, key = Table(), {"batch_stats": {"mean": 1.0}}, jax.random.key(0)
    params = {"logits": jnp.asarray(logits)}
    _, after = next_token(model)(params, variables, batch | layout, key, train=True)
    (seen, tokens, options) = model.calls[0]
    assert after == variables
    assert seen == {"params": params, **variables}
    assert tokens is batch["tokens"]
    assert options.pop("train") is True
    assert options.pop("rngs") == {"dropout": key}
    assert options == layout


def test_evaluation_gives_the_model_no_randomness():
    model = Table()
    logits, batch = draw(8)
    next_token(model)({"logits": jnp.asarray(logits)}, {}, batch, jax.random.key(0), train=False)
    assert model.calls[0][2] == {"train": False, "rngs": None}


@given(st.integers(0, 9999))
@settings(max_examples=20, deadline=None)
def test_of_equal_logits_the_first_is_the_prediction_as_for_argmax(seed):
    logits = np.random.default_rng(seed).integers(0, 3, (ROWS, LENGTH, VOCAB)).astype(np.float32)
    logits[0, 0] = -np.inf
    _, batch = draw(seed)
    _, correct = jax.jit(cross_entropy)(jnp.asarray(logits, jnp.bfloat16), batch["targets"])
    np.testing.assert_array_equal(correct, logits.argmax(-1) == batch["targets"])
