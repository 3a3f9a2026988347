"""LSTM layers against a loop in NumPy and against PyTorch; texts in a row know nothing of each other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlm.nn.recurrent import STEPS_PER_PRODUCT, LSTMLayer, project

ROWS, WIDTH, HIDDEN = 3, 5, 4


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def by_hand(params, x_TD):
    """States of one text, [T, H], by a loop in float64."""
    kernel, recurrent, bias = (np.asarray(params[name], np.float64) for name in ("kernel", "recurrent", "bias"))
    h, c, states = np.zeros(HIDDEN), np.zeros(HIDDEN), []
    for x_D in x_TD:
        take, keep, new, show = np.split(x_D @ kernel + h @ recurrent + bias, 4)
        c = sigmoid(keep) * c + sigmoid(take) * np.tanh(new)
        h = sigmoid(show) * np.tanh(c)
        states.append(h)
    return np.array(states)


def made(seed, length, reverse):
    """A layer with its parameters, none of them zero, and an input."""
    draw = np.random.default_rng(seed)
    shapes = {"kernel": (WIDTH, 4 * HIDDEN), "recurrent": (HIDDEN, 4 * HIDDEN), "bias": (4 * HIDDEN,)}
    params = {name: draw.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    return LSTMLayer(HIDDEN, reverse), params, draw.normal(size=(ROWS, length, WIDTH)).astype(np.float32)


def apply(layer, params, x, segments):
    return jax.jit(layer.apply)({"params": params}, x, segments)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("length", [1, 2 * STEPS_PER_PRODUCT + 3])
def test_states_are_those_of_a_loop(length, reverse):
    layer, params, x = made(0, length, reverse)
    found = apply(layer, params, x, np.ones((ROWS, length), np.int32))
    for row, states in zip(x, found, strict=True):
        expected = by_hand(params, row[::-1])[::-1] if reverse else by_hand(params, row)
        np.testing.assert_allclose(states, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("reverse", [False, True])
def test_texts_in_a_row_are_as_if_each_stood_alone(reverse):
    """Padding before, between and after them too; the backward direction starts at the last token of each."""
    layer, params, x = made(1, 12, reverse)
    segments = np.int32([[1] * 5 + [2] * 7, [1] * 4 + [0] * 8, [0] * 2 + [3] * 4 + [0] * 2 + [1] * 4])
    found = apply(layer, params, x, segments)
    for row, begin, end in [(0, 0, 5), (0, 5, 12), (1, 0, 4), (2, 2, 6), (2, 8, 12)]:
        text = x[row, begin:end]
        expected = by_hand(params, text[::-1])[::-1] if reverse else by_hand(params, text)
        np.testing.assert_allclose(found[row, begin:end], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("reverse", [False, True])
def test_no_gradient_passes_from_one_text_to_another(reverse):
    layer, params, x = made(2, 9, reverse)
    segments = np.int32([[1] * 4 + [2] * 5] * ROWS)
    slope = jax.jit(jax.grad(lambda x: (layer.apply({"params": params}, x, segments)[:, :4] ** 2).sum()))(x)
    assert np.abs(slope[:, :4]).max() > 0
    assert not np.asarray(slope[:, 4:]).any()


def test_a_layer_starts_with_open_forget_gates_and_an_orthogonal_recurrence():
    layer, _, x = made(3, 2, False)
    params = jax.jit(layer.init)(jax.random.key(0), x, np.ones((ROWS, 2), np.int32))["params"]
    np.testing.assert_array_equal(params["bias"], [0] * HIDDEN + [1] * HIDDEN + [0] * 2 * HIDDEN)
    np.testing.assert_allclose(params["recurrent"] @ params["recurrent"].T, np.eye(HIDDEN), atol=1e-5)


@pytest.mark.parametrize(("rows", "width", "gates"), [(1, 128, 512), (3, 40, 64)])
def test_a_step_has_the_same_bits_in_a_longer_row(rows, width, gates):
    """One product over all of time has not: a product of few rows is summed otherwise than one of many."""
    draw = np.random.default_rng(4)
    x, kernel, bias = (draw.normal(size=size).astype(np.float32) for size in ((40, rows, width), (width, gates), gates))
    projected = jax.jit(project)
    whole = projected(x, kernel, bias)
    np.testing.assert_allclose(whole, x.astype(np.float64) @ kernel + bias, rtol=1e-4, atol=1e-4)
    for length in (1, 8, 9, 31):
        np.testing.assert_array_equal(projected(x[:length], kernel, bias), whole[:length])


@pytest.mark.slow
def test_states_and_gradients_are_those_of_torch():
    torch = pytest.importorskip("torch")
    lengths = [11, 7, 2]
    (ahead, first, x), (back, second, _) = made(5, 11, False), made(6, 11, True)
    theirs = torch.nn.LSTM(WIDTH, HIDDEN, bidirectional=True, batch_first=True)
    for suffix, params in (("", first), ("_reverse", second)):
        for name, value in (("weight_ih_l0", "kernel"), ("weight_hh_l0", "recurrent"), ("bias_ih_l0", "bias")):
            getattr(theirs, name + suffix).data = torch.tensor(params[value].T.copy())
        getattr(theirs, f"bias_hh_l0{suffix}").data.zero_()
    packed = torch.nn.utils.rnn.pack_padded_sequence(torch.tensor(x), lengths, batch_first=True)
    expected, _ = torch.nn.utils.rnn.pad_packed_sequence(theirs(packed)[0], batch_first=True)
    (expected**2).sum().backward()
    segments = (np.arange(11)[None] < np.array(lengths)[:, None]).astype(np.int32)

    def states(first, second):
        sides = [layer.apply({"params": p}, x, segments) for layer, p in ((ahead, first), (back, second))]
        return jnp.concatenate(sides, -1) * segments[..., None]

    np.testing.assert_allclose(states(first, second), expected.detach().numpy(), rtol=1e-5, atol=1e-6)
    slopes = jax.grad(lambda *both: (states(*both) ** 2).sum(), argnums=(0, 1))(first, second)
    for suffix, slope in zip(("", "_reverse"), slopes, strict=True):
        for name, value in (("weight_ih_l0", "kernel"), ("weight_hh_l0", "recurrent"), ("bias_ih_l0", "bias")):
            found = getattr(theirs, name + suffix).grad.numpy().T
            np.testing.assert_allclose(slope[value], found, rtol=1e-4, atol=1e-5)
