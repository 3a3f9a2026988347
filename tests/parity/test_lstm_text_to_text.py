"""The LSTM with attention computes what PyTorch's layers compute by the equations of Luong et al. 2015."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlm.models.lstm_text_to_text import LSTMTextToText

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
pytestmark = pytest.mark.slow

VOCAB, WIDTH, HIDDEN = 13, 6, 5
SOURCES = [[3, 4, 5, 6, 7], [8, 9]]
TARGETS = [[1, 2, 3, 4], [5, 6, 7, 8]]


def to_torch(x):
    return torch.from_numpy(np.array(x, np.float32))


def load_lstm(theirs, suffix, kernel, ours):
    """Put a layer of ours into one of theirs, whose kernels are transposed; only one of their two biases is needed."""
    getattr(theirs, f"weight_ih{suffix}").data = to_torch(kernel).T
    getattr(theirs, f"weight_hh{suffix}").data = to_torch(ours["recurrent"]).T
    getattr(theirs, f"bias_ih{suffix}").data = to_torch(ours["bias"])
    getattr(theirs, f"bias_hh{suffix}").data.zero_()


def encoded(ours, depth, sources):
    """The states of torch's bidirectional LSTM over a source without padding, [S, 2 H]."""
    theirs = torch.nn.LSTM(WIDTH, HIDDEN, num_layers=depth, bidirectional=True, batch_first=True)
    for layer in range(depth):
        for name, suffix in (("forward", f"_l{layer}"), ("backward", f"_l{layer}_reverse")):
            load_lstm(theirs, suffix, ours[f"{name}_{layer}"]["kernel"], ours[f"{name}_{layer}"])
    return theirs(to_torch(ours["embed"]["embedding"])[sources][None])[0][0]


def written(params, depth, source, targets):
    """Logits [T, V] of one pair, step by step as in sections 3.1 and 3.3 of the paper."""
    ours, table = params["decoder"], to_torch(params["embed"]["embedding"])
    memory = encoded(params["encoder"], depth, source)
    lstm = torch.nn.LSTMCell(WIDTH + WIDTH, HIDDEN)
    load_lstm(lstm, "", np.concatenate([ours["kernel"], ours["feed"]]), ours)
    align = to_torch(ours["key"]["kernel"])  # [2 H, H], the transpose of W_a
    join = torch.cat([to_torch(ours["value"]["kernel"]), to_torch(ours["show"])])  # [c; h] to v
    h = torch.tanh(memory[:1] @ to_torch(ours["first"]["kernel"]) + to_torch(ours["first"]["bias"]))
    c, fed = torch.zeros_like(h), torch.zeros(1, WIDTH)
    logits = []
    for token in targets:
        h, c = lstm(torch.cat([table[token][None], fed], 1), (h, c))
        share = torch.softmax(h @ (memory @ align).T, 1)
        fed = torch.tanh(torch.cat([share @ memory, h], 1) @ join)
        logits.append(fed @ table.T)
    return torch.cat(logits)


@pytest.mark.parametrize("depth", [1, 2])
def test_logits_equal_those_of_torch(depth):
    model = LSTMTextToText(vocab=VOCAB, width=WIDTH, hidden=HIDDEN, depth=depth)
    tokens = jnp.array([SOURCES[0], [*SOURCES[1], 0, 0, 0]])
    segments, targets = jnp.array([[1] * 5, [1, 1, 0, 0, 0]]), jnp.array(TARGETS)
    variables = jax.jit(model.init)(jax.random.key(0), tokens, targets)
    draw = iter(jax.random.split(jax.random.key(1), 99))
    params = jax.tree.map(lambda x: x + 0.5 * jax.random.normal(next(draw), x.shape), variables["params"])
    found = model.apply({"params": params}, tokens, targets, segments=segments)
    for row, source in enumerate(SOURCES):
        expected = written(params, depth, source, TARGETS[row]).detach().numpy()
        assert np.abs(expected).max() > 0.1
        np.testing.assert_allclose(found[row], expected, rtol=1e-4, atol=1e-5)
