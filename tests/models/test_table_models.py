"""Models on tables: a row's outputs are its own, numbers become vectors by their formulas, sizes are checked."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from jaxlm.errors import BadInput
from jaxlm.models.dlrm import DLRM
from jaxlm.models.ft_transformer import FTTransformer
from jaxlm.models.table_mlp import TableMLP
from jaxlm.models.table_resnet import TableResNet
from jaxlm.models.wide_and_deep import WideAndDeep
from jaxlm.nn.feature_tokens import FeatureTokens, shares_of_bins

KINDS = ("none", "linear", "periodic", "piecewise")


def features(kind):
    return FeatureTokens(vocab=9, width=4, kind=kind, size=3)


MODELS = {f"mlp {kind}": TableMLP(features(kind), classes=2, hidden=(6,), dropout=0.5) for kind in KINDS}
MODELS["resnet"] = TableResNet(features("none"), classes=2, depth=2, width=6, hidden=8, dropout=0.5)
MODELS["wide and deep"] = WideAndDeep(features("piecewise"), classes=2, hidden=(6,), dropout=0.5)
for kind in ("none", "linear"):
    MODELS[f"dlrm {kind}"] = DLRM(features(kind), classes=2, bottom=(5,), hidden=(6,), dropout=0.5)
MODELS["transformer"] = FTTransformer(features("linear"), classes=2, depth=1, heads=2, dropout=0.5)


def rows(count=5, seed=0):
    draw = np.random.default_rng(seed)
    return draw.normal(size=(count, 3)).astype(np.float32), draw.integers(0, 9, (count, 2)).astype(np.int32)


@pytest.mark.parametrize("name", MODELS)
def test_outputs_of_a_row_are_a_function_of_it_alone_and_read_every_column(name):
    model, (numbers, categories) = MODELS[name], rows()
    variables = jax.jit(model.init)(jax.random.key(0), numbers, categories)
    apply = jax.jit(lambda numbers, categories: model.apply(variables, numbers, categories=categories))
    whole = apply(numbers, categories)
    assert whole.shape == (5, 2)
    order = np.array([3, 0, 4, 1, 2])
    np.testing.assert_allclose(apply(numbers[order], categories[order]), whole[order], rtol=1e-5, atol=1e-6)
    slopes = jax.jacobian(lambda x: model.apply(variables, x, categories))(numbers)
    assert (np.abs(np.asarray(slopes)).sum((1, 2, 3)) > 0).any()
    across = np.abs(np.asarray(slopes)).sum((1, 3))  # of row i by row j
    assert (across[~np.eye(5, dtype=bool)] == 0).all()
    for column in range(2):
        other = categories.copy()
        other[:, column] = (other[:, column] + 1) % 9
        assert not np.allclose(apply(numbers, other), whole)
    again = [
        model.apply(variables, numbers, categories, train=True, rngs={"dropout": jax.random.key(seed)})
        for seed in (1, 1, 2)
    ]
    assert np.array_equal(again[0], again[1])
    assert not np.allclose(again[0], again[2])


def test_shares_of_bins_are_a_piecewise_linear_code_of_the_quantile():
    x = jnp.asarray([[-9.0, norm.ppf(0.25), 0.0, norm.ppf(0.6), 9.0]])
    found = shares_of_bins(x, 4)[0]
    expected = [[0, 0, 0, 0], [1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 0.4, 0], [1, 1, 1, 1]]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_numbers_become_vectors_by_their_formulas():
    numbers, categories = rows()
    for kind in ("linear", "periodic"):
        module = features(kind)
        variables = module.init(jax.random.key(0), numbers, categories)
        params = variables["params"]
        found = module.apply(variables, numbers, categories)
        x = numbers[..., None]
        if kind == "periodic":
            angles = 2 * np.pi * x * params["frequencies"][None]
            x = np.concatenate([x, np.cos(angles), np.sin(angles)], -1)
        expected = np.einsum("bnf,nfd->bnd", x, params["kernel"]) + params["bias"][None]
        expected = expected if kind == "linear" else np.maximum(expected, 0)
        np.testing.assert_allclose(found[:, :3], expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(found[:, 3:], params["category"]["embedding"][categories], rtol=1e-6)


def test_a_table_without_categories_needs_no_table_of_them():
    for model in MODELS.values():
        params = model.init(jax.random.key(0), rows()[0])["params"]
        assert "category" not in str(jax.tree.structure(params))


def test_wide_and_deep_is_the_deep_part_plus_a_weight_of_each_number_and_category():
    (numbers, categories), model = rows(), MODELS["wide and deep"]
    params = jax.jit(model.init)(jax.random.key(0), numbers, categories)["params"]
    assert not params["wide"]["kernel"].any()
    assert not params["wide_categories"]["embedding"].any()
    draw = np.random.default_rng(1)
    weights, of_categories = draw.normal(size=(3, 2)), draw.normal(size=(9, 2))
    moved = params | {"wide": {"kernel": weights}, "wide_categories": {"embedding": of_categories}}
    found, deep = (model.apply({"params": p}, numbers, categories) for p in (moved, params))
    expected = numbers @ weights + np.array([of_categories[row].sum(0) for row in categories])
    np.testing.assert_allclose(found - deep, expected, rtol=1e-4, atol=1e-5)


def test_the_top_of_dlrm_reads_the_numbers_vector_and_each_product_of_two_vectors():
    numbers, categories = rows()
    model = DLRM(features("none"), classes=2, bottom=(5,), hidden=())
    params = jax.tree.map(np.asarray, jax.jit(model.init)(jax.random.key(0), numbers, categories)["params"])
    first, last = (params["bottom"][name] for name in ("hidden_0", "head"))
    hidden = np.maximum(numbers @ first["kernel"] + first["bias"], 0)
    x = np.maximum(hidden @ last["kernel"] + last["bias"], 0)
    expected = []
    for row, vector in enumerate(x):
        one, other = params["features"]["category"]["embedding"][categories[row]]
        expected.append([*vector, vector @ one, vector @ other, one @ other])
    head = params["top"]["head"]
    assert head["kernel"].shape == (7, 2)
    found = model.apply({"params": params}, numbers, categories)
    np.testing.assert_allclose(found, np.array(expected) @ head["kernel"] + head["bias"], rtol=1e-4, atol=1e-6)


def test_fields_that_contradict_each_other_are_refused():
    with pytest.raises(BadInput, match="model.features.width is 4: make it a multiple of model.heads, 3"):
        FTTransformer(features("linear"), heads=3).validate()
    with pytest.raises(BadInput, match="model.features.kind is none"):
        FTTransformer(features("none"), heads=2).validate()
    with pytest.raises(BadInput, match="model.hidden"):
        TableMLP(features("none"), hidden=(0,)).validate()
