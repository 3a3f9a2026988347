"""Frozen parameters do not move, cost no state and change nothing for the rest; rates that fall layer by layer."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from optim_helpers import flat, run, tree

from jaxlm import steps
from jaxlm.errors import BadInput
from jaxlm.losses.classification import classification
from jaxlm.models.cnn import CNN
from jaxlm.models.gpt import GPT
from jaxlm.models.mlp import MLP
from jaxlm.models.resnet import ResNet, resnet18
from jaxlm.models.vit import ViT
from jaxlm.optim import SGD, Adafactor, Adam, AdamW, Group, Lion, Muon, RMSProp, layerwise, match_groups
from jaxlm.optim.groups import path_of
from jaxlm.steps import transforms

MODEL = MLP(3, hidden=(7, 6, 5))
HELD = "^hidden_1/"
SPECS = {
    "sgd": SGD(peak_lr=0.1, momentum=0.9, l2=0.01, clip_norm=0.5),
    "adam": Adam(peak_lr=0.1, l1=0.01),
    "adamw": AdamW(peak_lr=0.1, weight_decay=0.2),
    "rmsprop": RMSProp(peak_lr=0.01, momentum=0.9, weight_decay=0.1),
    "lion": Lion(peak_lr=0.01),
    "muon": Muon(peak_lr=0.1),
    "adafactor": Adafactor(peak_lr=0.1, weight_decay=0.1, factor_from=2, momentum=0.9),
}
every_spec = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in ("sgd", "adamw", "muon") else pytest.mark.slow) for name in SPECS]
)


def held(spec):
    return dataclasses.replace(spec, freeze=HELD)


def batches(count=5):
    draw = np.random.default_rng(0)
    for _ in range(count):
        label = draw.integers(3, size=8).astype(np.int32)
        yield {"image": draw.normal(size=(8, 2, 2, 1)).astype(np.float32) + label[:, None, None, None], "label": label}


def composed(loss, tx, decay=0.5):
    return jax.jit(transforms.skip_nonfinite(transforms.ema(steps.update(steps.grad(loss), tx), decay)))


def begin(tx):
    return steps.init(MODEL, tx, np.zeros((1, 2, 2, 1), np.float32), jax.random.key(0), ema=True)


def train(step, state, data):
    norms = []
    for batch in data:
        state, metrics = step(state, batch)
        norms.append(np.asarray(metrics["grad_norm"].total))
    return state, norms


def size(opt_state):
    return sum(leaf.nbytes for leaf in jax.tree.leaves(opt_state))


@every_spec
def test_frozen_parameters_keep_their_bits_and_the_rest_moves_as_around_constants(name):
    spec, loss = held(SPECS[name]), classification(MODEL)
    start = begin(spec(10))
    end, norms = train(composed(transforms.freeze(loss, spec.frozen), spec(10)), start, batches())
    constant = {"hidden_1": start.params["hidden_1"]}
    rest = {layer: leaves for layer, leaves in start.params.items() if layer != "hidden_1"}

    def around(params, variables, batch, key, *, train):
        return loss({**params, **constant}, variables, batch, key, train=train)

    plain = SPECS[name](10)
    alone = steps.new_state(rest, plain, start.key, ema=True)
    expected, expected_norms = train(composed(around, plain), alone, batches())
    for part, scale in ((end.params, 0), (end.ema["params"], 1e-6)):  # an average of equal numbers is rounded
        for leaf in ("kernel", "bias"):
            np.testing.assert_allclose(part["hidden_1"][leaf], constant["hidden_1"][leaf], scale)
    for path, leaf in flat(expected.params).items():
        assert (leaf != flat(start.params)[path]).any(), path
        np.testing.assert_allclose(flat(end.params)[path], leaf, rtol=2e-5, atol=2e-6, err_msg=path)
        np.testing.assert_allclose(
            flat(end.ema["params"])[path], flat(expected.ema["params"])[path], rtol=2e-5, atol=2e-6, err_msg=path
        )
    np.testing.assert_allclose(norms, expected_norms, rtol=1e-5)
    assert size(end.opt_state) == size(expected.opt_state)
    assert int(end.skipped) == 0


@pytest.mark.parametrize(("name", "copies"), [("sgd", 1), ("adam", 2), ("adamw", 2), ("lion", 1), ("rmsprop", 2)])
def test_frozen_parameters_have_no_leaves_in_the_optimizers_state(name, copies):
    frozen, whole = begin(held(SPECS[name])(10)), begin(SPECS[name](10))
    spared = copies * 4 * (7 * 6 + 6)
    assert size(whole.opt_state) - size(frozen.opt_state) == spared
    assert (7, 6) not in {leaf.shape for leaf in jax.tree.leaves(frozen.opt_state)}
    assert (7, 6) in {leaf.shape for leaf in jax.tree.leaves(whole.opt_state)}


@every_spec
def test_a_pattern_that_is_found_nowhere_changes_no_bit(name):
    data, ends = list(batches()), []
    for freeze in ("", "nowhere"):
        spec = dataclasses.replace(SPECS[name], freeze=freeze)
        loss = transforms.freeze(classification(MODEL), spec.frozen)
        ends.append(train(composed(loss, spec(10)), begin(spec(10)), data))
    assert jax.tree.structure(ends[0]) == jax.tree.structure(ends[1])
    for one, two in zip(*map(jax.tree.leaves, ends), strict=True):
        if jnp.issubdtype(one.dtype, jax.dtypes.prng_key):
            one, two = jax.random.key_data(one), jax.random.key_data(two)
        np.testing.assert_array_equal(one, two, strict=True)


def test_clipping_looks_at_the_gradients_of_trained_parameters_alone():
    gradients = tree(1)
    gradients["embed"]["embedding"] = gradients["embed"]["embedding"] * 1e6
    params, _ = run(SGD(peak_lr=1.0, schedule="constant", clip_norm=0.1, freeze="^embed/")(10), tree(), [gradients])
    before, after, gradient = flat(tree()), flat(params), flat({"block": gradients["block"]})
    norm = np.sqrt(sum((g**2).sum() for g in gradient.values()))
    for path, g in gradient.items():
        np.testing.assert_allclose(after[path], before[path] - g * 0.1 / norm, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(after["embed/embedding"], before["embed/embedding"])


def test_gradients_that_are_not_finite_in_frozen_parameters_harm_nothing():
    gradients = tree(1)
    gradients["embed"]["embedding"] = gradients["embed"]["embedding"] * np.nan
    spec = AdamW(freeze="^embed/")
    params, _ = run(spec(10), tree(), [gradients])
    expected, _ = run(spec(10), tree(), [tree(1)])
    jax.tree.map(np.testing.assert_array_equal, params, expected)


def test_a_skipped_update_leaves_frozen_and_trained_parameters_and_the_next_goes_on():
    spec = held(SPECS["adamw"])
    step = composed(transforms.freeze(classification(MODEL), spec.frozen), spec(10))
    data = list(batches(2))
    bad = {**data[0], "image": data[0]["image"] * np.nan}
    start = begin(spec(10))
    state, _ = step(start, bad)
    jax.tree.map(np.testing.assert_array_equal, (state.params, state.opt_state), (start.params, start.opt_state))
    assert int(state.skipped) == 1
    state, _ = step(state, data[1])
    assert int(state.skipped) == 0
    assert (np.asarray(state.params["head"]["kernel"]) != np.asarray(start.params["head"]["kernel"])).all()


def test_a_frozen_parameter_needs_no_group():
    spec = SGD(groups=(Group("block", "^block/"),), freeze="^embed/")
    params, _ = run(spec(10), tree(), [tree(1)])
    np.testing.assert_array_equal(params["embed"]["embedding"], tree()["embed"]["embedding"])


@pytest.mark.parametrize(
    ("freeze", "told"),
    [
        (".", "freeze '.' holds every parameter: narrow it"),
        ("(", "freeze is '(', which is not a regular expr"),
    ],
)
def test_a_pattern_that_holds_everything_or_is_none_is_told(freeze, told):
    spec = AdamW(freeze=freeze)
    with pytest.raises(BadInput) as refusal:
        spec(10).init(tree())
    assert told in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_the_rates_of_layers_against_a_table_by_hand():
    params = jax.eval_shape(ResNet(classes=2, stages=(1, 1), width=4).init, jax.random.key(0), jnp.zeros((1, 8, 8, 3)))[
        "params"
    ]
    groups = layerwise(("^stem", "^stage_0", "^stage_1", "^head"), 0.5)
    found = {path: (g.rate, g.decay) for path, g in zip(flat_paths(params), match_groups(groups, params), strict=True)}
    assert found == {
        "stem/kernel": (1 / 8, 1),
        "stem_norm/scale": (1 / 8, 0),
        "stem_norm/bias": (1 / 8, 0),
        "stage_0_block_0/conv_1/kernel": (1 / 4, 1),
        "stage_0_block_0/norm_1/scale": (1 / 4, 0),
        "stage_0_block_0/norm_1/bias": (1 / 4, 0),
        "stage_0_block_0/conv_2/kernel": (1 / 4, 1),
        "stage_0_block_0/norm_2/scale": (1 / 4, 0),
        "stage_0_block_0/norm_2/bias": (1 / 4, 0),
        "stage_1_block_0/conv_1/kernel": (1 / 2, 1),
        "stage_1_block_0/norm_1/scale": (1 / 2, 0),
        "stage_1_block_0/norm_1/bias": (1 / 2, 0),
        "stage_1_block_0/conv_2/kernel": (1 / 2, 1),
        "stage_1_block_0/norm_2/scale": (1 / 2, 0),
        "stage_1_block_0/norm_2/bias": (1 / 2, 0),
        "stage_1_block_0/shortcut/kernel": (1 / 2, 1),
        "stage_1_block_0/shortcut_norm/scale": (1 / 2, 0),
        "stage_1_block_0/shortcut_norm/bias": (1 / 2, 0),
        "head/kernel": (1, 1),
        "head/bias": (1, 0),
    }


def flat_paths(params):
    return [path_of(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]


IMAGE = jnp.zeros((1, 16, 16, 3))
LAYERS = {
    "mlp": (MLP(3, hidden=(7, 6)), IMAGE, ("^hidden_0", "^hidden_1", "^head")),
    "cnn": (CNN(3, widths=(4, 8), hidden=5), IMAGE, ("^stage_0", "^stage_1", "^hidden", "^head")),
    "resnet": (resnet18(classes=3), IMAGE, ("^stem", "^stage_0", "^stage_1", "^stage_2", "^stage_3", "^head")),
    "vit": (
        ViT(3, patch=8, depth=2, width=8, heads=2),
        IMAGE,
        ("^(patch|token|position)", "^block_0", "^block_1", "^final_norm|^head"),
    ),
    "gpt": (
        GPT(vocab=11, depth=2, width=8, heads=2, context=4),
        jnp.zeros((1, 4), jnp.int32),
        ("embed", "^block_0/", "^block_1/", ""),
    ),
    "gpt scanned": (
        GPT(vocab=11, depth=2, width=8, heads=2, context=4, scan=True),
        jnp.zeros((1, 4), jnp.int32),
        ("embed", "^blocks", ""),
    ),
}


@pytest.mark.parametrize("name", LAYERS)
def test_every_parameter_of_a_model_is_in_one_group_and_matrices_alone_are_decayed(name):
    model, example, layers = LAYERS[name]
    params = jax.eval_shape(model.init, jax.random.key(0), example)["params"]
    groups = match_groups(layerwise(layers, 0.1), params)  # raises unless exactly one holds each
    assert {round(np.log10(group.rate)) for group in groups} == set(range(1 - len(layers), 1))
    for path, group in zip(flat_paths(params), groups, strict=True):
        assert group.decay == (0 if path.rpartition("/")[2] in ("bias", "scale") else 1), path


def test_the_first_layer_that_is_found_wins():
    params = {"block_1": {"kernel": np.zeros((2, 2))}, "block_10": {"kernel": np.zeros((2, 2))}, "head": np.zeros(2)}

    def rates(*layers):
        return [group.rate for group in match_groups(layerwise(layers, 0.5), params)]

    assert rates("block_1", "block_10", "head") == [0.25, 0.25, 1.0]
    assert rates("block_10", "block_1", "head") == [0.5, 0.25, 1.0]
    assert rates("block_1/", "block_10|never", "") == [0.25, 0.5, 1.0]
    assert rates("") == [1.0, 1.0, 1.0]


def test_a_parameter_of_no_layer_is_named():
    params = {"stem": {"kernel": np.zeros((2, 2)), "bias": np.zeros(2)}, "head": {"kernel": np.zeros((2, 2))}}
    with pytest.raises(BadInput) as refusal:
        SGD(groups=layerwise(("^stem",), 0.5))(10).init(params)
    assert "not so: head/kernel (none). Fix a pattern of optim.groups" in str(refusal.value)


@pytest.mark.parametrize(
    ("layers", "decay", "told"), [(("(",), 0.5, "not a regular expression"), (("", "a"), -1, "rate -1")]
)
def test_layers_that_cannot_be_meant_are_told(layers, decay, told):
    with pytest.raises(BadInput, match=told):
        SGD(groups=layerwise(layers, decay))(10)


def test_other_groups_keep_their_multipliers_within_each_layer():
    kinds = (Group("up", "up/", rate=3.0, decay=0.25), Group("rest", "^(?!.*up/)"))
    groups = layerwise(("^embed", "^block"), 0.5, kinds)
    found = {path: (g.rate, g.decay) for path, g in zip(flat_paths(tree()), match_groups(groups, tree()), strict=True)}
    assert found == {
        "embed/embedding": (0.5, 1.0),
        "block/up/kernel": (3.0, 0.25),
        "block/up/bias": (3.0, 0.25),
        "block/down/kernel": (1.0, 1.0),
    }


def test_a_layer_moves_at_its_own_rate():
    groups = layerwise(("^embed/", "^block/"), 0.1)
    params, _ = run(SGD(peak_lr=0.5, schedule="constant", groups=groups)(10), tree(), [tree(1)])
    before, after, gradient = flat(tree()), flat(params), flat(tree(1))
    for path in before:
        rate = 0.05 if path.startswith("embed/") else 0.5
        np.testing.assert_allclose(after[path], before[path] - rate * gradient[path], rtol=1e-5, atol=1e-6)
