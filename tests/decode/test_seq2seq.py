"""Greedy answers with a cache are those of whole sequences computed anew for each token."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlm.decode import greedy
from jaxlm.errors import BadInput
from jaxlm.models.t5 import T5

SMALL = T5(vocab=13, depth=2, width=16, heads=4, hidden=24, head_width=6, buckets=8, reach=10)
GATED = SMALL.clone(activation="geglu", tied=False)
SOURCES = [[3, 4, 5, 6, 7], [8], [2, 2, 9]]
LENGTH = 14


@cache
def make_variables(model):
    """An uneven read-out, so that the answers are not one token."""
    variables = jax.jit(model.init)(jax.random.key(1), jnp.ones((1, 3), jnp.int32), jnp.ones((1, 2), jnp.int32))
    return jax.tree.map(lambda x: 1.5 * x, variables)


@partial(jax.jit, static_argnames="model")
def next_token(model, variables, source, targets, count):
    return model.apply(variables, source, targets)[0, count - 1].argmax()


def recomputed(model, variables, source, start, stop):
    """One source alone, unpadded; all of the target again for each token."""
    row = [start]
    while len(row) <= LENGTH:
        padded = np.array([row + [0] * (LENGTH - len(row) + 1)])
        row.append(int(next_token(model, variables, np.array([source]), padded, len(row))))
        if row[-1] == stop:
            return row[1:-1]
    return row[1:]


@pytest.mark.parametrize(("model", "start"), [(SMALL, 0), (GATED, 3)])
def test_answers_with_a_cache_equal_full_recomputation(model, start):
    variables = make_variables(model)
    alone = [recomputed(model, variables, source, start, stop=None) for source in SOURCES]
    assert greedy(model, variables, SOURCES, length=LENGTH, start=start, stop=None) == alone
    assert len({tuple(row) for row in alone}) == 3
    stop = alone[0][4]
    stopped = [recomputed(model, variables, source, start, stop) for source in SOURCES]
    assert greedy(model, variables, SOURCES, length=LENGTH, start=start, stop=stop) == stopped
    assert len(stopped[0]) <= 4


@pytest.mark.parametrize(
    ("sources", "options", "words"),
    [
        ([], {}, "no sources"),
        ([[1], []], {}, "source 1 is empty"),
        ([[1], [13]], {}, "source 1 holds a token outside of 0 .. 12"),
        ([[1]], {"start": 13}, "start is 13"),
        ([[1]], {"length": 0}, "length is 0"),
    ],
)
def test_unusable_requests_are_refused_with_one_line(sources, options, words):
    with pytest.raises(BadInput, match=words) as error:
        greedy(SMALL, {}, sources, **{"length": 4, **options})
    assert "\n" not in str(error.value)
