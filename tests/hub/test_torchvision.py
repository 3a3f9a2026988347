"""ResNets in PyTorch's names: every tensor has its place, and pretrained ones make the errors that they should."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from jaxlm import optim, steps
from jaxlm.data.images.sources import TfdsImages
from jaxlm.errors import BadInput
from jaxlm.hub.torchvision import read_resnet, translate
from jaxlm.losses import Classification
from jaxlm.models.resnet import cifar_resnet20, cifar_resnet56, resnet18, resnet50
from jaxlm.runs.weights import by_path, load_into
from jaxlm.steps import transforms
from jaxlm.train.evaluate import measure
from jaxlm.train.init_from import InitFrom

CIFAR = {"resnet20": cifar_resnet20(classes=10), "resnet56": cifar_resnet56(classes=10)}


def theirs(stages, width, *, bottleneck, kernel, classes, projections):
    """The state dict of a residual network in PyTorch, as torchvision's source makes it: {name: shape}."""
    found = {}

    def convolution(name, norm, out, into, side):
        found[f"{name}.weight"] = (out, into, side, side)
        found[f"{norm}.weight"] = found[f"{norm}.bias"] = (out,)
        found[f"{norm}.running_mean"] = found[f"{norm}.running_var"] = (out,)
        found[f"{norm}.num_batches_tracked"] = ()

    convolution("conv1", "bn1", width, 3, kernel)
    into = width
    for stage, depth in enumerate(stages):
        inner = width * 2**stage
        out = 4 * inner if bottleneck else inner
        for number in range(depth):
            at = f"layer{stage + 1}.{number}"
            sides = [(inner, into, 1), (inner, inner, 3), (out, inner, 1)]
            for count, shape in enumerate(sides if bottleneck else [(inner, into, 3), (inner, inner, 3)], 1):
                convolution(f"{at}.conv{count}", f"{at}.bn{count}", *shape)
            if projections and number == 0 and (stage or into != out):
                convolution(f"{at}.downsample.0", f"{at}.downsample.1", out, into, 1)
            into = out
    return found | {"fc.weight": (classes, into), "fc.bias": (classes,)}


PHOTO = {"width": 64, "kernel": 7, "classes": 1000, "projections": True}
SMALL = {"width": 16, "kernel": 3, "classes": 10, "projections": False, "bottleneck": False}
NETWORKS = {  # model, state dict, its entries (torchvision's are 122 and 320), parameters as published
    "resnet18": (resnet18(classes=1000), theirs((2, 2, 2, 2), **PHOTO, bottleneck=False), 122, 11_689_512),
    "resnet50": (resnet50(classes=1000), theirs((3, 4, 6, 3), **PHOTO, bottleneck=True), 320, 25_557_032),
    "resnet20": (CIFAR["resnet20"], theirs((3, 3, 3), **SMALL), 19 * 6 + 2, 269_722),
    "resnet56": (CIFAR["resnet56"], theirs((9, 9, 9), **SMALL), 55 * 6 + 2, 853_018),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_every_tensor_of_theirs_has_a_leaf_here_of_its_shape_and_every_leaf_a_tensor(name):
    model, state, entries, count = NETWORKS[name]
    assert len(state) == entries
    pairs = [
        translate(tensor, np.broadcast_to(np.float32(0), shape), "a file")
        for tensor, shape in state.items()
        if not tensor.endswith("num_batches_tracked")
    ]
    variables = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    wanted = {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf.shape
        for path, leaf in jax.tree_util.tree_leaves_with_path(variables)
    }
    assert {path: leaf.shape for path, leaf in pairs} == wanted
    assert len(pairs) == len(wanted)
    assert sum(leaf.size for path, leaf in pairs if path.startswith("params/")) == count


def test_both_names_of_shortcuts_and_heads_are_known():
    for ours, names in {
        "params/stage_1_block_0/shortcut/kernel": ("layer2.0.downsample.0.weight", "layer2.0.shortcut.0.weight"),
        "params/stage_1_block_0/shortcut_norm/scale": ("layer2.0.downsample.1.weight", "layer2.0.shortcut.1.weight"),
        "params/head/kernel": ("fc.weight", "linear.weight"),
    }.items():
        shape = {"kernel": (8, 4, 1, 1), "scale": (8,)}[ours.rpartition("/")[2]] if "stage" in ours else (3, 8)
        assert [translate(name, np.zeros(shape), "")[0] for name in names] == [ours, ours]


def test_axes_are_put_in_our_order():
    image, matrix = np.arange(2 * 3 * 5 * 7.0).reshape(2, 3, 5, 7), np.arange(6.0).reshape(2, 3)
    kernel = translate("conv1.weight", image, "")[1]
    assert kernel.shape == (5, 7, 3, 2)
    assert kernel[4, 6, 2, 1] == image[1, 2, 4, 6]
    assert kernel[1, 2, 0, 1] == image[1, 0, 1, 2]
    np.testing.assert_array_equal(translate("fc.weight", matrix, "")[1], matrix.T)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("encoder.weight", (2, 3)),
        ("layer1.0.conv1.weight", (2, 3, 4)),
        ("layer1.0.conv1.weight_orig", (2, 3, 1, 1)),
        ("layer1.0.downsample.2.weight", (2,)),
        ("module.conv1.weight", (2, 3, 1, 1)),
        ("fc", (2,)),
    ],
)
def test_a_tensor_that_no_layer_has_is_named(name, shape, tmp_path):
    save_file({name: np.zeros(shape, np.float32)}, tmp_path / "odd.safetensors")
    with pytest.raises(BadInput) as refusal:
        read_resnet(tmp_path / "odd.safetensors")
    assert f"odd.safetensors has a tensor {name} {list(shape)}, which no layer of a ResNet has" in str(refusal.value)


def test_another_networks_file_is_refused_even_where_it_holds_all_that_is_asked_for(tmp_path):
    state = NETWORKS["resnet56"][1]
    save_file({name: np.zeros(shape, np.float32) for name, shape in state.items()}, tmp_path / "56.safetensors")

    def init(key):
        return steps.init(CIFAR["resnet20"], optim.SGD()(1), np.zeros((1, 32, 32, 3), np.float32), key)

    with pytest.raises(BadInput, match=r"has \w+/stage_0_block_3/\S+, which the model here has not"):
        InitFrom(path=str(tmp_path / "56.safetensors")).load(jax.eval_shape(init, jax.random.key(0)), None)


@pytest.fixture
def cifar(real_data):
    """The folders of CIFAR-10 and of the networks that were trained on it."""
    for path in ("cifar10/test.npz", "resnet_cifar10/resnet20.safetensors", "resnet_cifar10/resnet56.safetensors"):
        if not (real_data / path).is_file():
            pytest.skip(f"{real_data / path} is missing: no pretrained networks to measure on this machine")
    return real_data / "cifar10", real_data / "resnet_cifar10"


def errors(cifar, name, count, batch, tmp_path):
    """How many of the first test images of CIFAR-10 a pretrained network takes for something else."""
    with np.load(cifar[0] / "test.npz") as found:
        images, labels = found["images"][:count], found["labels"][:count]
    for file in ("train.npz", "test.npz"):
        np.savez(tmp_path / file, images=images, labels=labels)
    data = TfdsImages(arrays=str(tmp_path), eval_batch=batch, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    model, tx = CIFAR[name], optim.SGD()(1)

    def init(key):
        return steps.init(model, tx, data.example(), key)

    start = InitFrom(path=str(cifar[1] / f"{name}.safetensors"), fresh="")
    leaves = start.load(jax.eval_shape(init, jax.random.key(0)), None).arrays
    state = load_into(jax.jit(init)(jax.random.key(0)), leaves)
    assert by_path(state).keys() == leaves.keys()
    evaluate = jax.jit(steps.evaluate(transforms.prepare(Classification()(model), data.prepare)))
    held = data.eval()
    counts = measure(evaluate, state, (held[i] for i in range(len(held))))["confusion"].counts
    assert counts.sum() == count
    return count - np.trace(counts)


def test_the_pretrained_resnet20_errs_as_often_as_it_should_on_200_images(cifar, tmp_path):
    assert errors(cifar, "resnet20", 200, 200, tmp_path) == 18


@pytest.mark.slow
@pytest.mark.parametrize(("name", "expected"), [("resnet20", 827), ("resnet56", 661)])
def test_pretrained_networks_err_as_often_as_published(cifar, name, expected, tmp_path):
    assert errors(cifar, name, 10_000, 500, tmp_path) == expected


def test_the_pretrained_resnet20_gives_pytorchs_logits(cifar):
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    path = cifar[1] / "resnet20.safetensors"
    with np.load(cifar[0] / "test.npz") as found:
        images = (found["images"][:20] / np.float32(255) - 0.45) / np.float32(0.225)
    state = {name: torch.from_numpy(tensor) for name, tensor in load_file(path).items()}

    def normed(x, conv, norm, stride=1):
        y = functional.conv2d(x, state[f"{conv}.weight"], stride=stride, padding=1)
        names = ("running_mean", "running_var", "weight", "bias")
        return functional.batch_norm(y, *(state[f"{norm}.{name}"] for name in names))

    x = functional.relu(normed(torch.from_numpy(images.transpose(0, 3, 1, 2).copy()), "conv1", "bn1"))
    for stage in (1, 2, 3):
        for number in (0, 1, 2):
            at, stride = f"layer{stage}.{number}", 2 if stage > 1 and number == 0 else 1
            y = normed(functional.relu(normed(x, f"{at}.conv1", f"{at}.bn1", stride)), f"{at}.conv2", f"{at}.bn2")
            more = (y.shape[1] - x.shape[1]) // 2
            x = functional.relu(y + functional.pad(x[:, :, ::stride, ::stride], (0, 0, 0, 0, more, more)))
    head = next(name for name in ("fc", "linear") if f"{name}.weight" in state)
    expected = functional.linear(x.mean((2, 3)), state[f"{head}.weight"], state[f"{head}.bias"])

    variables = {}
    for name, leaf in read_resnet(path).items():
        collection, *layers, kind = name.split("/")
        node = variables.setdefault(collection, {})
        for layer in layers:
            node = node.setdefault(layer, {})
        node[kind] = leaf
    found = jax.jit(CIFAR["resnet20"].apply)(variables, jnp.asarray(images, jnp.float32))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
