"""What is a residual network's or a vision transformer's own."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_image_models import MODELS, forward, images, make_variables

from jaxlm.models.vit import patches
from jaxlm.nn.attention import Attention, attend


def test_patches_are_cut_row_by_row():
    x = np.arange(2 * 4 * 6 * 3).reshape(2, 4, 6, 3)
    cut = patches(jnp.asarray(x), 2)
    assert cut.shape == (2, 6, 12)
    np.testing.assert_array_equal(cut[1, 4], x[1, 2:4, 2:4].ravel())  # the second row, the second column


def test_attention_of_images_is_to_all_tokens():
    query, key, value = jax.random.normal(jax.random.key(0), (3, 2, 5, 2, 4))
    everything = attend(query, key, value, jnp.ones((2, 1, 5, 5), bool))
    np.testing.assert_allclose(attend(query, key, value, causal=False), everything, atol=1e-6)
    x = jax.random.normal(jax.random.key(1), (1, 5, 8))
    for causal in (True, False):
        layer = Attention(2, 2, 1, causal=causal)
        first = jax.grad(lambda x, layer=layer: layer.init_with_output(jax.random.key(2), x)[0][0][:, 0].sum())
        assert jax.jit(first)(x).any(axis=-1).sum() == (1 if causal else 5)  # tokens that the first one sees


def test_recomputed_layers_are_the_same_function():
    model = MODELS["vit"].clone(dropout=0.5)
    params, x = make_variables(MODELS["vit"])["params"], images(model)

    def loss(params, model):
        rngs = {"dropout": jax.random.key(1)}
        return jnp.square(model.apply({"params": params}, x, train=True, rngs=rngs)).sum()

    kept, again = (jax.jit(jax.grad(partial(loss, model=model.clone(remat=remat))))(params) for remat in (False, True))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), again, kept)


@pytest.mark.parametrize("train", [False, True])
def test_a_residual_network_equals_its_twin_in_torch(train):
    torch = pytest.importorskip("torch")
    function = torch.nn.functional
    model = MODELS["resnet"]
    variables, x = make_variables(model), images(model)
    params, stats = jax.tree.map(lambda x: torch.tensor(np.asarray(x)), (variables["params"], variables["batch_stats"]))

    def unit(x, conv, norm, stride=1):
        kernel = params_of(params, conv)["kernel"].permute(3, 2, 0, 1)
        x = function.conv2d(x, kernel, None, stride, kernel.shape[-1] // 2)
        kept, learned = params_of(stats, norm), params_of(params, norm)
        return function.batch_norm(x, kept["mean"], kept["var"], learned["scale"], learned["bias"], train, 0.1, 1e-5)

    def block(x, name, stride):
        y = unit(x, f"{name}/conv_1", f"{name}/norm_1", stride).relu()
        y = unit(y, f"{name}/conv_2", f"{name}/norm_2")
        return (y + (x if stride == 1 else unit(x, f"{name}/shortcut", f"{name}/shortcut_norm", stride))).relu()

    y = unit(torch.tensor(np.asarray(x)).permute(0, 3, 1, 2), "stem", "stem_norm", 2).relu()
    y = block(block(function.max_pool2d(y, 3, 2, 1), "stage_0_block_0", 1), "stage_1_block_0", 2)
    theirs = y.mean((2, 3)) @ params["head"]["kernel"] + params["head"]["bias"]
    np.testing.assert_allclose(forward(model, variables, x, train=train), theirs.numpy(), atol=1e-4)


def params_of(tree, path):
    for name in path.split("/"):
        tree = tree[name]
    return tree
