"""What is made of a row and what is thought of it are its own; sizes are checked."""

import jax
import numpy as np
import pytest

from jaxlm.errors import BadInput
from jaxlm.models.bert import BERT
from jaxlm.models.gan import GAN

DRAW = np.random.default_rng(0)
ROWS = 5
TOKENS = DRAW.integers(0, 6, (ROWS, 3)).astype(np.int32)
SEGMENTS = np.int32([[1, 1, 1], [1, 1, 0], [1, 0, 0], [0, 0, 0], [1, 1, 1]])
FIRSTS = {"make": DRAW.normal(size=(ROWS, 4)), "judge": DRAW.normal(size=(ROWS, 8, 12, 3))}


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("method", FIRSTS)
def test_a_row_is_a_function_of_its_own_noise_or_image_and_of_its_caption(method, residual):
    encoder = BERT(vocab=6, depth=1, width=8, heads=2, context=3)
    model = GAN(encoder, shape=(8, 12, 3), latent=4, widths=(8, 4), residual=residual)
    first = FIRSTS[method].astype(np.float32)
    variables = jax.jit(lambda: model.init(jax.random.key(0), first, TOKENS, SEGMENTS, method=method))()
    draw = np.random.default_rng(1)
    variables = jax.tree.map(lambda x: x + 0.2 * draw.normal(size=x.shape).astype(np.float32), variables)
    apply = jax.jit(lambda *inputs: model.apply(variables, *inputs, method=method))
    whole = np.asarray(apply(first, TOKENS, SEGMENTS))
    assert whole.shape == ((ROWS, 8, 12, 3) if method == "make" else (ROWS,))
    if method == "make":
        assert np.abs(whole).max() <= 1
    order = np.array([3, 0, 4, 1, 2])
    np.testing.assert_allclose(apply(first[order], TOKENS[order], SEGMENTS[order]), whole[order], atol=1e-5)
    for other in ((2 * first, TOKENS), (first, (TOKENS + 1) % 6)):
        changed = np.abs(np.asarray(apply(*other, SEGMENTS)) - whole).reshape(ROWS, -1).max(1) > 1e-4
        assert changed.tolist() == [True, True, True, other[0] is not first, True]  # row 3 has no caption
    beyond = np.where(SEGMENTS > 0, TOKENS, 5).astype(np.int32)
    np.testing.assert_allclose(apply(first, beyond, SEGMENTS), whole, atol=1e-6)


@pytest.mark.parametrize("fields", [{"shape": (28, 30, 1)}, {"widths": ()}, {"shape": (28, 28)}])
def test_sizes_that_do_not_halve_are_refused(fields):
    with pytest.raises(BadInput, match=r"^model.shape is [^\n]+ and model.widths [^\n]+ must be multiples of [^\n]+$"):
        GAN(BERT(vocab=6, depth=1, width=8, heads=2, context=3), **fields).validate()
