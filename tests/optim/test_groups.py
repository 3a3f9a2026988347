"""Every parameter belongs to exactly one group, and the group's multipliers act on it alone."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optim_helpers import assert_close, flat, run, tree

from jaxlm.errors import BadInput
from jaxlm.optim import SGD, TRANSFORMER_GROUPS, AdamW, Group, match_groups


def test_a_parameter_in_no_group_is_named():
    spec = AdamW(groups=(Group("block", "^block/"),))
    with pytest.raises(BadInput, match=r"one of the groups \[block\]; not so: embed/embedding \(none\)"):
        spec(10).init(tree())


def test_a_parameter_in_two_groups_is_named_with_them():
    spec = AdamW(groups=(Group("all"), Group("up", "^block/up/kernel$")))
    with pytest.raises(BadInput, match=r"not so: block/up/kernel \(all and up\)\."):
        spec(10).init(tree())


def test_many_wrong_parameters_make_one_short_line():
    with pytest.raises(BadInput, match="and 92 more") as refusal:
        match_groups((), {f"w{i}": np.zeros(1) for i in range(100)})
    assert "\n" not in str(refusal.value)


@given(
    st.dictionaries(
        st.text("ab/_Ωbiascale.*(", min_size=1, max_size=12), st.integers(0, 4).map(lambda n: np.zeros((2,) * n))
    )
)
@settings(max_examples=100, deadline=None)
def test_the_default_groups_hold_every_parameter_of_any_tree_once(params):
    groups = match_groups(TRANSFORMER_GROUPS, {"model": [params, (params,)]})
    assert len(groups) == 2 * len(params)


def test_the_default_groups_decay_matrices_and_embeddings_only():
    params = {
        "embed": {"embedding": np.zeros((5, 4))},
        "blocks": {
            "qkv": {"kernel": np.zeros((2, 4, 6)), "bias": np.zeros((2, 6))},
            "norm": {"scale": np.zeros((2, 4))},
        },
        "norm": {"scale": np.zeros(4), "bias": np.zeros(4)},
        "bias_table": np.zeros((3, 3)),
        "temperature": np.zeros(()),
        "w": np.zeros((3, 3)),
    }
    paths = sorted(flat(params))
    decayed = {
        path for path, group in zip(flat(params), match_groups(TRANSFORMER_GROUPS, params), strict=True) if group.decay
    }
    assert len(paths) == 9
    assert decayed == {"embed/embedding", "blocks/qkv/kernel", "bias_table", "w"}


def test_a_bare_array_is_a_tree_too():
    params, _ = run(
        SGD(peak_lr=0.5, weight_decay=0.1, schedule="constant")(10),
        np.ones((2, 2), np.float32),
        [np.ones((2, 2), np.float32)],
    )
    np.testing.assert_allclose(params, 1 - 0.5 * (1 + 0.1), rtol=1e-6)


@pytest.mark.parametrize("penalty", ["weight_decay", "l1", "l2"])
def test_a_multiplier_of_zero_leaves_parameters_unaffected(penalty):
    spec = SGD(peak_lr=0.5, schedule="constant", **{penalty: 0.1})
    params, _ = run(spec(10), tree(), [jax.tree.map(np.zeros_like, tree())])
    before, after = flat(tree()), flat(params)
    np.testing.assert_array_equal(after["block/up/bias"], before["block/up/bias"])
    assert (after["block/up/kernel"] != before["block/up/kernel"]).all()


def test_multipliers_scale_the_decay_and_the_rate_of_their_group_alone():
    groups = (Group("embedding", "^embed/", decay=0.5, rate=3.0), Group("block", "^block/"))
    params, _ = run(SGD(peak_lr=0.5, weight_decay=0.1, schedule="constant", groups=groups)(10), tree(), [tree(1)])
    p, g = flat(tree()), flat(tree(1))
    expected = {path: p[path] - 0.5 * (g[path] + 0.1 * p[path]) for path in p}
    expected["embed/embedding"] = p["embed/embedding"] - 3 * 0.5 * (
        g["embed/embedding"] + 0.5 * 0.1 * p["embed/embedding"]
    )
    for path, value in flat(params).items():
        np.testing.assert_allclose(value, expected[path], rtol=1e-5, atol=1e-6)


def test_one_group_for_all_is_the_plain_optimizer():
    every = (Group("all"),)
    split = (Group("up", "/up/"), Group("rest", "^(?!.*/up/)"))
    one, _ = run(AdamW(groups=every)(10), tree(), [tree(1), tree(2)])
    two, _ = run(AdamW(groups=split)(10), tree(), [tree(1), tree(2)])
    assert_close(one, two)
