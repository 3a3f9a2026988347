import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlm.nn.image_norm import ImageNorm

EPS = 1e-5


def draw(seed=0, shape=(8, 3, 5, 6)):
    rng = np.random.default_rng(seed)
    return (3 + 2 * rng.normal(size=shape)).astype(np.float32)


def variables_of(width=6, seed=1):
    scale, shift, mean = np.random.default_rng(seed).normal(size=(3, width)).astype(np.float32)
    variance = np.random.default_rng(seed).uniform(0.5, 2, width).astype(np.float32)
    return {"params": {"scale": scale, "bias": shift}, "batch_stats": {"mean": mean, "var": variance}}


def numpy_norm(x, mean, variance, params, eps=EPS):
    return (x.astype(np.float64) - mean) / np.sqrt(variance + eps) * params["scale"] + params["bias"]


def numpy_group_norm(x, groups, params, eps=EPS):
    parts = x.astype(np.float64).reshape(len(x), -1, groups, x.shape[-1] // groups)
    parts = (parts - parts.mean((1, 3), keepdims=True)) / np.sqrt(parts.var((1, 3), keepdims=True) + eps)
    return parts.reshape(x.shape) * params["scale"] + params["bias"]


def train(layer, variables, x):
    return layer.apply(variables, x, train=True, mutable=["batch_stats"])


def test_training_normalises_over_the_batch_and_all_places():
    x, variables = draw(), variables_of()
    ours, _ = train(ImageNorm(), variables, x)
    expected = numpy_norm(x, x.mean((0, 1, 2), np.float64), x.var((0, 1, 2), np.float64), variables["params"])
    np.testing.assert_allclose(ours, expected, atol=1e-5)


def test_evaluation_takes_the_kept_statistics_and_changes_nothing():
    x, variables = draw(), variables_of()
    kept = variables["batch_stats"]
    expected = numpy_norm(x, kept["mean"], kept["var"], variables["params"])
    ours, after = ImageNorm().apply(variables, x, mutable=["batch_stats"])
    np.testing.assert_allclose(ours, expected, atol=1e-5)
    jax.tree.map(np.testing.assert_array_equal, dict(after["batch_stats"]), kept)
    np.testing.assert_array_equal(ImageNorm().apply(variables, x), ours)


def test_running_statistics_after_several_steps():
    variables, layer = variables_of(), ImageNorm(momentum=0.8)
    mean, variance = (np.float64(variables["batch_stats"][name]) for name in ("mean", "var"))
    for step in range(4):
        x = draw(step)
        variables = {**variables, **train(layer, variables, x)[1]}
        mean = 0.8 * mean + 0.2 * x.mean((0, 1, 2), np.float64)
        variance = 0.8 * variance + 0.2 * x.var((0, 1, 2), np.float64)
    np.testing.assert_allclose(variables["batch_stats"]["mean"], mean, rtol=1e-5)
    np.testing.assert_allclose(variables["batch_stats"]["var"], variance, rtol=1e-5)


def test_initialisation_leaves_the_statistics_of_nothing():
    for training in (False, True):
        variables = ImageNorm(axis_name="devices").init(jax.random.key(0), draw(), train=training)
        assert not variables["batch_stats"]["mean"].any()
        assert (variables["batch_stats"]["var"] == 1).all()
        assert (variables["params"]["scale"] == 1).all()
    assert not ImageNorm(zero=True).init(jax.random.key(0), draw())["params"]["scale"].any()


@pytest.mark.parametrize(
    ("width", "groups"), [(8, 4), (64, 32), (48, 8), (2, 1), *((odd, 1) for odd in (1, 3, 5, 9, 33))]
)
def test_groups_are_half_the_common_divisor_of_64_and_the_width_and_never_mix_channels_with_places(width, groups):
    x, variables = draw(shape=(2, 3, 4, width)), {"params": variables_of(width)["params"]}
    layer = ImageNorm("group")
    expected = numpy_group_norm(x, groups, variables["params"])
    for training in (False, True):
        np.testing.assert_allclose(layer.apply(variables, x, train=training), expected, atol=1e-5)
    assert set(layer.init(jax.random.key(0), x)) == {"params"}


def test_group_norm_and_its_gradient_equal_torch():
    torch = pytest.importorskip("torch")
    x, params = draw(shape=(2, 3, 4, 8)), variables_of(8)["params"]
    planes = torch.tensor(x.transpose(0, 3, 1, 2)).requires_grad_()
    scale, shift = (torch.tensor(params[name]).requires_grad_() for name in ("scale", "bias"))
    theirs = torch.nn.functional.group_norm(planes, 4, scale, shift, EPS)
    compare_with_torch(ImageNorm("group"), {"params": params}, x, (theirs, planes, scale, shift))


def test_batch_norm_its_gradient_and_its_statistics_equal_torch():
    torch = pytest.importorskip("torch")
    x, variables = draw(), variables_of()
    planes = torch.tensor(x.transpose(0, 3, 1, 2)).requires_grad_()
    scale, shift = (torch.tensor(variables["params"][name]).requires_grad_() for name in ("scale", "bias"))
    mean, variance = (torch.tensor(variables["batch_stats"][name]) for name in ("mean", "var"))
    theirs = torch.nn.functional.batch_norm(planes, mean, variance, scale, shift, training=True, eps=EPS)
    kept = compare_with_torch(ImageNorm(), variables, x, (theirs, planes, scale, shift))
    np.testing.assert_allclose(kept["mean"], mean.numpy(), rtol=1e-5)
    before, count = variables["batch_stats"]["var"], x.size // x.shape[-1]
    unbiased = 0.9 * before + (kept["var"] - 0.9 * before) * count / (count - 1)  # torch keeps this one
    np.testing.assert_allclose(unbiased, variance.numpy(), rtol=1e-5)


def compare_with_torch(layer, variables, x, tensors):
    """Value and gradients of the sum of cubes; returns the statistics."""

    def total(params, x):
        y, kept = train(layer, {**variables, "params": params}, x)
        return (y**3).sum(), (y, kept.get("batch_stats"))

    (by_params, by_x), (y, kept) = jax.grad(total, argnums=(0, 1), has_aux=True)(variables["params"], x)
    theirs, planes, scale, shift = tensors
    (theirs**3).sum().backward()
    np.testing.assert_allclose(y, theirs.detach().permute(0, 2, 3, 1).numpy(), atol=1e-5)
    np.testing.assert_allclose(by_x, planes.grad.permute(0, 2, 3, 1).numpy(), atol=1e-4)
    np.testing.assert_allclose(by_params["scale"], scale.grad.numpy(), rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(by_params["bias"], shift.grad.numpy(), rtol=1e-4, atol=1e-3)
    return kept


@pytest.mark.parametrize("kind", ["batch", "group"])
def test_half_precision_is_returned_and_statistics_are_float32(kind):
    x = jnp.asarray(300 + draw(shape=(4, 8, 8, 32)), jnp.bfloat16)
    layer = ImageNorm(kind)
    variables = layer.init(jax.random.key(0), x)
    half, kept = train(layer, variables, x)
    full, _ = train(layer, variables, x.astype(jnp.float32))
    assert half.dtype == jnp.bfloat16
    assert jnp.array_equal(half, full.astype(jnp.bfloat16))
    cast = {**variables, "params": jax.tree.map(lambda p: p.astype(jnp.bfloat16), variables["params"])}
    assert train(layer, cast, x)[0].dtype == jnp.bfloat16
    for leaf in jax.tree.leaves(kept):
        assert leaf.dtype == jnp.float32
    if kind == "batch":
        mean = np.asarray(x, np.float64).mean((0, 1, 2))
        np.testing.assert_allclose(kept["batch_stats"]["mean"], 0.1 * mean, rtol=1e-5)


def test_devices_of_a_named_axis_share_their_statistics_and_gradients():
    devices = 4
    assert jax.device_count() >= devices
    x, variables = draw(shape=(8, 3, 3, 6)), variables_of()
    weights = draw(2, x.shape)

    def total(params, x, weights, layer):
        y, kept = train(layer, {**variables, "params": params}, x)
        return (y * weights).sum(), (y, kept)

    def step(params, x, weights):
        gradient, (y, kept) = jax.grad(total, has_aux=True)(params, x, weights, ImageNorm(axis_name="devices"))
        return jax.lax.psum(gradient, "devices"), y, kept

    dealt = [array.reshape(devices, -1, *array.shape[1:]) for array in (x, weights)]
    gradients, y, kept = jax.pmap(step, axis_name="devices", in_axes=(None, 0, 0), devices=jax.devices()[:devices])(
        variables["params"], *dealt
    )
    expected, (whole, whole_kept) = jax.grad(total, has_aux=True)(variables["params"], x, weights, ImageNorm())
    np.testing.assert_allclose(y.reshape(x.shape), whole, atol=1e-5)
    for device in range(devices):
        one = jax.tree.map(lambda leaf, device=device: leaf[device], (gradients, kept))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-4), one, (expected, whole_kept))


def test_devices_without_a_name_keep_to_themselves():
    x, variables = draw(shape=(4, 2, 3, 3, 6)), variables_of()
    dealt, _ = jax.pmap(lambda x: train(ImageNorm(), variables, x), devices=jax.devices()[:4])(x)
    alone = np.stack([train(ImageNorm(), variables, part)[0] for part in x])
    np.testing.assert_allclose(dealt, alone, atol=1e-5)
    assert np.abs(alone.reshape(8, 3, 3, 6) - train(ImageNorm(), variables, x.reshape(8, 3, 3, 6))[0]).max() > 1e-2


def test_a_batch_on_a_mesh_has_the_statistics_of_the_whole():
    x, variables = draw(shape=(8, 3, 3, 6)), variables_of()
    mesh = jax.sharding.Mesh(np.asarray(jax.devices()[:4]), ("data",))
    sharded = jax.device_put(x, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data")))
    dealt, kept = jax.jit(lambda x: train(ImageNorm(), variables, x))(sharded)
    whole, whole_kept = train(ImageNorm(), variables, x)
    np.testing.assert_allclose(dealt, whole, atol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), kept, whole_kept)


@pytest.mark.parametrize("kind", ["batch", "group"])
def test_the_formula_of_other_backends_is_the_same_function(monkeypatch, kind):
    x, variables = draw(), variables_of()
    here = train(ImageNorm(kind), variables, x)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    other = train(ImageNorm(kind), variables, x)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), here, other)
