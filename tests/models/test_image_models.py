from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_image_models import CLASSES, MODELS, forward, images, make_variables

from jaxlm import steps
from jaxlm.errors import BadInput
from jaxlm.losses.classification import classification
from jaxlm.models import resnet, vgg, vit
from jaxlm.models.cnn import CNN
from jaxlm.models.inception import Inception
from jaxlm.models.mlp import MLP
from jaxlm.models.resnet import ResNet
from jaxlm.models.vgg import VGG, mean_pool_to
from jaxlm.models.vit import ViT

DROPPING = {
    name: MODELS[name].clone(dropout=0.5) for name in ("mlp", "cnn", "vgg", "vgg small", "inception", "vit", "vit mean")
}
every_model = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name == "inception" else ()) for name in MODELS]
)


def count(model, size):
    variables = jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32))
    return sum(x.size for x in jax.tree.leaves(variables["params"]))


@pytest.mark.parametrize(
    ("model", "size", "published"),
    [
        (resnet.resnet18(classes=1000), 224, 11_689_512),
        (resnet.resnet34(classes=1000), 224, 21_797_672),
        (resnet.resnet50(classes=1000), 224, 25_557_032),
        (resnet.resnet101(classes=1000), 224, 44_549_160),
        (resnet.cifar_resnet20(classes=10), 32, 269_722),
        (resnet.cifar_resnet56(classes=10), 32, 853_018),
        (vgg.vgg11(classes=1000), 224, 132_863_336),
        (vgg.vgg16(classes=1000), 224, 138_357_544),
        (vgg.vgg16(classes=1000, norm="batch"), 224, 138_365_992),
        (Inception(classes=1000), 299, 23_834_568),
        (vit.vit_ti16(classes=1000), 224, 5_717_416),
        (vit.vit_s16(classes=1000), 224, 22_050_664),
        (vit.vit_b16(classes=1000), 224, 86_567_656),
    ],
)
def test_parameter_counts_equal_the_published_ones(model, size, published):
    assert count(model, size) == published


def test_the_default_network_for_mnist_takes_less_than_five_million_multiply_adds():
    model = CNN(classes=10)
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 28, 28, 1)))["params"]
    areas = {"stage_0": 28**2, "stage_1": 14**2}
    products = sum(areas.get(name[:7], 1) * leaf["kernel"].size for name, leaf in shapes.items() if "kernel" in leaf)
    assert products == 4_830_720


@every_model
def test_logits_have_the_last_layers_shape_and_the_last_layer_is_the_head(name):
    model = MODELS[name]
    variables = make_variables(model)
    assert forward(model, variables, images(model)).shape == (4, CLASSES)
    assert variables["params"]["head"]["kernel"].shape[1] == CLASSES
    assert model.clone(axis_name="devices").axis_name == "devices"


@every_model
def test_the_logits_of_an_example_do_not_depend_on_the_others(name):
    model = MODELS[name]
    variables, x = make_variables(model), images(model)
    others = x.at[1:].set(7 * x[1:] + 3)
    logits, beside = forward(model, variables, x), forward(model, variables, others)
    np.testing.assert_allclose(logits[0], beside[0], atol=1e-5)
    assert jnp.abs(logits[1:] - beside[1:]).max() > 1e-3


@every_model
def test_the_gradient_reaches_every_parameter(name):
    model = MODELS[name]
    variables, x = make_variables(model), images(model)
    weights = jax.random.normal(jax.random.key(2), (4, CLASSES))

    def loss(params):
        return (forward(model, {**variables, "params": params}, x, train=True) * weights).sum()

    gradient = jax.jit(jax.grad(loss))(variables["params"])
    for path, leaf in jax.tree.leaves_with_path(gradient):
        keys = [key.key for key in path]
        if name == "vgg batch" and "conv" in keys[-2] and keys[-1] == "bias":
            continue  # the norm subtracts it again
        assert jnp.abs(leaf).max() > 1e-5, keys


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name == "inception" else ()) for name in DROPPING]
)
def test_dropout_acts_in_training_only_and_follows_its_key(name):
    model, without = DROPPING[name], MODELS[name]
    variables, x = make_variables(without), images(model)
    assert jnp.array_equal(forward(model, variables, x), forward(without, variables, x))
    once, again, other = (
        forward(model, variables, x, train=True, rngs={"dropout": jax.random.key(seed)}) for seed in (1, 1, 2)
    )
    assert jnp.array_equal(once, again)
    assert not jnp.array_equal(once, other)


@pytest.mark.parametrize("name", ["mlp", "cnn", "vgg batch", "resnet", "vit", "vit mean"])
def test_half_precision_gives_half_precision_logits_near_the_full_ones(name):
    model = MODELS[name]
    variables, x = make_variables(model), images(model)
    params = jax.tree.map(lambda p: p.astype(jnp.bfloat16), variables["params"])
    half = forward(model, {**variables, "params": params}, x.astype(jnp.bfloat16))
    full = forward(model, variables, x)
    assert half.dtype == jnp.bfloat16
    assert jnp.abs(half - full).mean() < 0.1 * jnp.abs(full).mean()


@pytest.mark.parametrize("name", ["cnn group", "resnet bottleneck", "vit"])
def test_without_batch_statistics_the_gradient_is_that_of_its_micro_batches(name):
    model = MODELS[name]
    params, key = make_variables(model)["params"], jax.random.key(0)
    batch = {"image": images(model), "label": jnp.arange(4)}
    gradient = steps.grad(classification(model))
    whole, metrics, _ = jax.jit(gradient)(params, {}, batch, key)
    parts, same, _ = jax.jit(steps.accumulate(gradient, 4))(params, {}, batch, key)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), (parts, same), (whole, metrics))


@pytest.mark.parametrize("name", ["cnn", "resnet", "vgg batch"])
def test_the_batch_on_four_devices_gives_the_logits_and_gradients_of_one(name):
    model = MODELS[name]
    variables, x = make_variables(model), images(model, 8)
    loss = {kind: classification(model.clone(axis_name=kind)) for kind in (None, "devices")}

    def step(kind, params, stats, batch):
        gradient, metrics, stats = steps.grad(loss[kind])(params, stats, batch, jax.random.key(0))
        reduce = partial(jax.lax.psum, axis_name=kind) if kind else lambda x: x
        return *jax.tree.map(reduce, (gradient, metrics)), stats

    stats = {"batch_stats": variables["batch_stats"]}
    batch = {"image": x, "label": jnp.arange(8) % CLASSES}
    dealt = jax.tree.map(lambda x: x.reshape(4, 2, *x.shape[1:]), batch)
    one = jax.jit(partial(step, None))(variables["params"], stats, batch)
    pmapped = jax.pmap(partial(step, "devices"), "devices", in_axes=(None, None, 0), devices=jax.devices()[:4])
    four = jax.tree.map(lambda x: x[0], pmapped(variables["params"], stats, dealt))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), four, one)


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (MLP(10), (8, 8, 1)),
        (CNN(10), (8, 8, 1)),
        (CNN(10), (28, 28, 1)),
        (VGG(10, vgg.A, norm="batch", classifier="small"), (32, 32, 3)),
        (VGG(10, vgg.A, hidden=16), (40, 33, 3)),
        (ResNet(10, (1, 1), stem="small"), (9, 7, 3)),
        (Inception(10), (75, 90, 3)),
        (ViT(10, patch=4, depth=1, width=8, heads=1), (8, 16, 1)),
    ],
)
def test_sizes_and_channels_are_those_of_the_images(model, shape):
    logits, _ = jax.eval_shape(model.init_with_output, jax.random.key(0), jnp.zeros((2, *shape)))
    assert logits.shape == (2, 10)


@pytest.mark.parametrize(
    ("model", "shape", "words"),
    [
        (MODELS["cnn"], (3, 8), "3 x 8 are too small: model.widths"),
        (vgg.vgg11(classes=2), (31, 40), "31 x 40 are too small for VGG: take 32 x 32"),
        (Inception(2), (74, 75), "74 x 75 are too small for Inception: take 75 x 75"),
        (MODELS["vit"], (8, 10), "model.patch 4 does not divide images of 8 x 10"),
        (MODELS["vit"].clone(heads=3), (8, 8), "model.heads 3 does not divide model.width 8"),
        (MODELS["vit"].clone(patch=0), (8, 8), "model.patch is 0"),
        (MODELS["vit"].clone(image=(8, 4, 3)), (8, 8), r"images of \(8, 8, 3\) are not of model.image \(8, 4, 3\)"),
        (MODELS["resnet"].clone(stages=(1, 0)), (8, 8), r"model.stages is \(1, 0\)"),
        (MODELS["resnet"].clone(width=0), (8, 8), "model.width is 0"),
    ],
)
def test_images_that_cannot_work_are_refused_in_one_line(model, shape, words):
    with pytest.raises(BadInput, match=words) as error:
        jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, *shape, 3)))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("shape", "size"), [((7, 9), 7), ((14, 21), 7), ((5, 3), 7), ((6, 6), 1)])
def test_pooling_to_a_grid_is_that_of_torch(shape, size):
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).normal(size=(2, *shape, 3)).astype(np.float32)
    theirs = torch.nn.functional.adaptive_avg_pool2d(torch.tensor(x.transpose(0, 3, 1, 2)), size)
    np.testing.assert_allclose(mean_pool_to(jnp.asarray(x), size), theirs.permute(0, 2, 3, 1).numpy(), atol=1e-5)


def test_an_encoder_without_a_head_gives_what_the_head_would_see():
    model = MODELS["vit"].clone(representation=True)
    variables, x = make_variables(model), images(model)
    hidden = np.asarray(model.apply(variables, x, method="encode"))
    params = jax.tree.map(np.asarray, variables["params"])
    pooled = np.tanh(hidden[:, 0] @ params["pre_head"]["kernel"] + params["pre_head"]["bias"])
    np.testing.assert_allclose(model.clone(classes=0).apply(variables, x), pooled, atol=1e-5)
    logits = pooled @ params["head"]["kernel"] + params["head"]["bias"]
    np.testing.assert_allclose(forward(model, variables, x), logits, atol=1e-5)
    assert set(jax.eval_shape(model.clone(classes=0).init, jax.random.key(0), x)["params"]) == set(params) - {"head"}
