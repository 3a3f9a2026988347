"""DiT and the U-Net: zero at the beginning, rows and padding on their own, the null condition, positions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlm.errors import BadInput
from jaxlm.models.bert import BERT
from jaxlm.models.dit import DiT, grid_positions
from jaxlm.models.unet import UNet

ENCODER = BERT(vocab=7, depth=1, width=8, heads=2, context=5)
MODELS = {
    "dit": DiT(encoder=ENCODER, patch=2, depth=1, width=8, heads=2),
    "unet": UNet(encoder=ENCODER, widths=(4, 8), heads=2),
}
DRAW = np.random.default_rng(0)
IMAGE = DRAW.normal(size=(3, 4, 6, 2)).astype(np.float32)
TIMES = np.float32([0.1, 0.5, 0.9])
TOKENS = np.int32([[2, 3, 0], [4, 0, 0], [5, 6, 2]])
SEGMENTS = np.int32([[1, 1, 0], [0, 0, 0], [1, 1, 1]])


@pytest.fixture(scope="module", params=MODELS)
def made(request):
    """A model, its initial variables, and those of a model that has learned something."""
    model = MODELS[request.param]
    variables = jax.jit(model.init)(jax.random.key(0), IMAGE, TIMES, TOKENS, SEGMENTS)
    moved = jax.tree.map(lambda x: x + 0.2 * DRAW.normal(size=x.shape).astype(np.float32), variables)
    return jax.jit(model.apply), variables, moved


def test_it_is_zero_at_the_beginning(made):
    apply, variables, moved = made
    assert not np.asarray(apply(variables, IMAGE, TIMES, TOKENS, SEGMENTS)).any()
    assert np.asarray(apply(moved, IMAGE, TIMES, TOKENS, SEGMENTS)).all()


def test_a_row_depends_on_itself_alone_and_not_on_its_padding(made):
    apply, _, moved = made
    whole = apply(moved, IMAGE, TIMES, TOKENS, SEGMENTS)
    image, times, tokens = IMAGE.copy(), TIMES.copy(), TOKENS.copy()
    image[2], times[2], tokens[2] = 1, 0, 1
    tokens[0, 2], tokens[1] = 6, 3  # padding
    found = apply(moved, image, times, tokens, SEGMENTS)
    np.testing.assert_allclose(found[:2], whole[:2], atol=1e-5)
    assert np.abs(np.asarray(found[2] - whole[2])).max() > 1e-2


def test_time_and_caption_change_the_output_and_no_caption_is_not_any_caption(made):
    apply, _, moved = made
    whole = apply(moved, IMAGE, TIMES, TOKENS, SEGMENTS)
    for other in (
        apply(moved, IMAGE, TIMES + np.float32(0.05), TOKENS, SEGMENTS),
        apply(moved, IMAGE, TIMES, TOKENS, 0 * SEGMENTS),
    ):
        assert np.abs(np.asarray(other[0] - whole[0])).max() > 1e-3
    assert np.isfinite(np.asarray(whole)).all()


def test_positions_of_a_grid_are_all_different_and_row_by_row():
    found = np.asarray(grid_positions(3, 5, 16)).reshape(3, 5, 16)
    np.testing.assert_array_equal(found[:, 0, :8], found[:, 4, :8])
    np.testing.assert_array_equal(found[0, :, 8:], found[2, :, 8:])
    assert len(np.unique(found.reshape(15, 16), axis=0)) == 15


@pytest.mark.parametrize(
    "model",
    [
        MODELS["dit"].clone(width=10),
        MODELS["dit"].clone(heads=3),
        MODELS["unet"].clone(widths=()),
        MODELS["unet"].clone(heads=3),
    ],
)
def test_fields_that_do_not_fit_are_one_line(model):
    with pytest.raises(BadInput, match=r"^model\.(width|widths) is [^\n]+$"):
        model.validate()


def test_sizes_that_it_takes_are_known():
    assert MODELS["dit"].multiple == 2
    assert MODELS["unet"].clone(widths=(4, 8, 8)).multiple == 4
    wide = jnp.zeros((1, 8, 2, 2))
    assert jax.eval_shape(MODELS["dit"].init_with_output, jax.random.key(0), wide, TIMES[:1], TOKENS[:1], SEGMENTS[:1])[
        0
    ].shape == (1, 8, 2, 2)
