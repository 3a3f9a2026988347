"""Adapters against their formulas in NumPy, and the laws of a frozen base."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from jaxlm.errors import BadInput
from jaxlm.nn.lora import LoRA

SHAPES = {
    "embed": {"embedding": (6, 5)},
    "block_0": {"attention": {"qkv": {"kernel": (5, 9), "bias": (9,)}, "query": {"kernel": (5, 2, 3)}}},
    "blocks": {"feed_forward": {"up": {"kernel": (2, 5, 7), "bias": (2, 7)}}},
    "conv": {"kernel": (3, 3, 2, 4)},
}
LAYOUTS = (("^blocks/", "lio"), ("query", "ioo"))
ALL = "kernel|embedding"


def draw(shapes, seed=0):
    numbers = np.random.default_rng(seed)
    return jax.tree.map(
        lambda shape: jnp.asarray(numbers.normal(size=shape), jnp.float32),
        shapes,
        is_leaf=lambda x: isinstance(x, tuple),
    )


def spec(**changes):
    return LoRA(**{"rank": 3, "alpha": 5.0, "pattern": ALL, "layouts": LAYOUTS} | changes)


def moved(lora, params, seed=1):
    """Adapters that are not fresh: every entry away from where it began."""
    fresh = jax.jit(lora.init)(jax.random.key(0), params)
    numbers = np.random.default_rng(seed)
    return jax.tree.map(lambda x: x + numbers.normal(size=x.shape).astype(np.float32), fresh)


def matrices(path, leaf):
    """A kernel as a stack of matrices [L, I, O]: an account of its own."""
    leaf = np.asarray(leaf, np.float64)
    if path.startswith("blocks/"):
        return leaf
    if "query" in path:
        return leaf.reshape(1, leaf.shape[0], -1)
    return leaf.reshape(1, -1, leaf.shape[-1])


def expected(path, leaf, own, dora):
    """W + (alpha / rank) A B, and its columns set to their trained lengths."""
    change = np.stack(
        [
            a @ b
            for a, b in zip(
                matrices("blocks/", stack(own[f"{path}/lora_a"])), stack(own[f"{path}/lora_b"]), strict=True
            )
        ]
    )
    weight = matrices(path, leaf) + 5.0 / 3 * change
    if dora:
        lengths = np.linalg.norm(weight, axis=1, keepdims=True)
        weight = weight / lengths * np.asarray(own[f"{path}/scale"], np.float64).reshape(lengths.shape)
    return weight.reshape(leaf.shape)


def stack(factor):
    return np.asarray(factor, np.float64).reshape(-1, *factor.shape[-2:])


@pytest.mark.parametrize("dora", [False, True])
def test_merging_is_the_formula_for_kernels_of_any_rank(dora):
    params, lora = draw(SHAPES), spec(dora=dora)
    adapters = moved(lora, params)
    own, merged = flatten_dict(adapters, sep="/"), flatten_dict(jax.jit(lora.merge)(params, adapters), sep="/")
    for path, leaf in flatten_dict(params, sep="/").items():
        if path.endswith("bias"):
            np.testing.assert_array_equal(merged[path], leaf)
        else:
            np.testing.assert_allclose(merged[path], expected(path, leaf, own, dora), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dora", [False, True])
def test_a_fresh_adapter_changes_nothing(dora):
    params, lora = draw(SHAPES), spec(dora=dora)
    merged = jax.jit(lambda key: lora.merge(params, lora.init(key, params)))(jax.random.key(0))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6 * dora), merged, params)


def test_rank_zero_adapts_nothing():
    params, lora = draw(SHAPES), spec(rank=0)
    adapters = lora.init(jax.random.key(0), params)
    assert adapters == {}
    assert all(a is b for a, b in zip(*map(jax.tree.leaves, (lora.merge(params, adapters), params)), strict=True))


def test_unmerging_gives_the_base_to_rounding():
    params, lora = draw(SHAPES), spec()
    adapters = moved(lora, params)
    back = jax.jit(lambda own: lora.unmerge(lora.merge(params, own), own))(adapters)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), back, params)


@pytest.mark.parametrize("changes", [{"dora": True}, {"full": "bias"}])
def test_what_leaves_no_trace_of_the_base_cannot_be_undone(changes):
    params, lora = draw(SHAPES), spec(**changes)
    with pytest.raises(ValueError, match="keep the base"):
        lora.unmerge(params, lora.derive(params))


@pytest.mark.parametrize("dora", [False, True])
def test_the_gradient_is_the_dense_one_projected(dora):
    """dA = s G B' and dB = s A' G, with G the gradient by W', which DoRA scales by m / |V| first."""
    params = {"up": {"kernel": jnp.asarray(np.random.default_rng(0).normal(size=(5, 7)), jnp.float32)}}
    lora = spec(dora=dora)
    adapters = moved(lora, params)
    dense = np.asarray(np.random.default_rng(2).normal(size=(5, 7)), np.float32)
    total = lambda own: (lora.merge(params, own)["up"]["kernel"] * dense).sum()  # noqa: E731
    found = jax.jit(jax.grad(total))(adapters)["up"]["kernel"]
    own = {name: np.asarray(x, np.float64) for name, x in adapters["up"]["kernel"].items()}
    weight = np.asarray(params["up"]["kernel"], np.float64) + 5 / 3 * own["lora_a"] @ own["lora_b"]
    lengths = np.linalg.norm(weight, axis=0)
    scaled = dense * own["scale"] / lengths if dora else dense
    np.testing.assert_allclose(found["lora_a"], 5 / 3 * scaled @ own["lora_b"].T, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found["lora_b"], 5 / 3 * own["lora_a"].T @ scaled, rtol=1e-4, atol=1e-5)
    if dora:
        np.testing.assert_allclose(found["scale"], (dense * weight / lengths).sum(0), rtol=1e-4)


def test_what_is_trained_in_full_replaces_its_parameter():
    params, lora = draw(SHAPES), spec(full="^conv/")
    adapters = moved(lora, params)
    assert lora.merge(params, adapters)["conv"]["kernel"] is adapters["conv"]["kernel"]
    fresh = lora.derive(params)
    assert fresh["conv"]["kernel"] is params["conv"]["kernel"]


def test_fresh_factors_have_the_published_distribution():
    """A uniform within 1 / sqrt(I), as the code of the paper has it; B zero; each kernel with draws of its own."""
    lora = LoRA(rank=64, pattern="kernel")
    fresh = jax.jit(lora.init)(jax.random.key(3), draw({"up": {"kernel": (400, 8)}, "down": {"kernel": (400, 8)}}))
    a = np.asarray(fresh["up"]["kernel"]["lora_a"])
    assert np.abs(a).max() <= 400**-0.5
    assert a.std() == pytest.approx((400 * 3) ** -0.5, rel=0.02)
    assert not np.asarray(fresh["up"]["kernel"]["lora_b"]).any()
    assert not np.array_equal(a, fresh["down"]["kernel"]["lora_a"])


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"pattern": "nowhere"}, "finds none of the parameters"),
        ({"pattern": "("}, "not a regular expression"),
        ({"full": "("}, "not a regular expression"),
        ({"pattern": "qkv/bias"}, "does not fit"),
        ({"layouts": (("^blocks/", "io"),)}, "does not fit"),
        ({"layouts": (("^blocks/", "oil"),)}, "does not fit"),
    ],
)
def test_a_spec_that_cannot_be_meant_is_refused(changes, told):
    with pytest.raises(BadInput, match=told):
        spec(**changes).init(jax.random.key(0), draw(SHAPES))
