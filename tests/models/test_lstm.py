"""The LSTM as an encoder: padding changes no bit of the logits, and its parts are where they should be."""

import jax
import numpy as np
import pytest

from jaxlm.errors import BadInput
from jaxlm.models.heads import Classifier, TokenClassifier
from jaxlm.models.lstm import LSTM

VOCAB = 30
SMALL = LSTM(vocab=VOCAB, width=6, hidden=5, depth=2)


def ragged(rows=5, length=11, padding=0, fill=0):
    """Rows of random lengths, the last of them full, and more padding."""
    draw = np.random.default_rng(0)
    lengths = np.append(draw.integers(1, length, rows - 1), length)
    segments = (np.arange(length + padding)[None] < lengths[:, None]).astype(np.int32)
    tokens = np.pad(draw.integers(1, VOCAB, (rows, length)), ((0, 0), (0, padding)))
    return np.where(segments > 0, tokens, fill).astype(np.int32), segments


def drawn(model, tokens):
    return jax.jit(model.init)(jax.random.key(0), tokens)


@pytest.mark.parametrize("pool", ["mean", "max"])
def test_more_padding_changes_no_bit_of_the_logits(pool):
    model = Classifier(SMALL, classes=3, pool=pool)
    tokens, segments = ragged(2)
    apply = jax.jit(model.apply)
    variables = drawn(model, tokens)
    expected = apply(variables, tokens, segments=segments)
    for padding in (5, 29):
        tokens, segments = ragged(2, padding=padding, fill=7)
        np.testing.assert_array_equal(apply(variables, tokens, segments=segments), expected)


@pytest.mark.slow
@pytest.mark.parametrize("rows", [1, 3, 8, 64])
def test_more_padding_changes_no_bit_at_the_size_of_the_configs(rows):
    model = Classifier(LSTM(vocab=VOCAB, width=128), classes=6, pool="max")
    apply = jax.jit(model.apply)
    variables = drawn(model, ragged()[0])
    for length in (4, 12):
        tokens, segments = ragged(rows, length)
        expected = apply(variables, tokens, segments=segments)
        for padding in (1, 4, 12, 30):
            tokens, segments = ragged(rows, length, padding, fill=7)
            np.testing.assert_array_equal(apply(variables, tokens, segments=segments), expected)


def test_a_state_knows_what_stands_before_and_after_it():
    tokens, segments = ragged(1, 6)
    variables = drawn(SMALL, tokens)

    def places(model, variables, changed):
        other = tokens.copy()
        other[0, changed] += 1
        before, after = (model.apply(variables, x, segments=segments) for x in (tokens, other))
        return np.flatnonzero(np.any(np.asarray(before != after), axis=(0, 2))).tolist()

    assert places(SMALL, variables, 3) == [0, 1, 2, 3, 4, 5]
    ahead = SMALL.clone(both=False)
    assert places(ahead, drawn(ahead, tokens), 3) == [3, 4, 5]


def test_parameters_have_plain_names():
    shapes = jax.eval_shape(TokenClassifier(SMALL, 4).init, jax.random.key(0), ragged()[0])["params"]
    assert set(shapes["encoder"]) == {"embed", "forward_0", "backward_0", "forward_1", "backward_1"}
    assert shapes["encoder"]["forward_1"]["kernel"].shape == (10, 20)
    assert shapes["head"]["kernel"].shape == (10, 4)


def test_dropout_acts_in_training_only():
    tokens, segments = ragged()
    model = SMALL.clone(dropout=0.5)
    variables = drawn(SMALL, tokens)
    plain = SMALL.apply(variables, tokens, segments=segments)
    np.testing.assert_array_equal(model.apply(variables, tokens, segments=segments), plain)
    first, second = (
        model.apply(variables, tokens, segments=segments, train=True, rngs={"dropout": jax.random.key(seed)})
        for seed in (1, 2)
    )
    assert not np.array_equal(first, second)


@pytest.mark.parametrize(("fields", "message"), [({"hidden": 0}, "hidden is 0"), ({"dropout": 1.0}, "dropout is 1.0")])
def test_fields_out_of_their_range_are_refused(fields, message):
    with pytest.raises(BadInput, match=f"^model.{message}: it must be at least"):
        SMALL.clone(**fields).init(jax.random.key(0), ragged()[0])
