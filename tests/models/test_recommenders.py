"""Models that score items: all items and chosen ones alike, known special cases, what each may and may not read."""

from functools import cache, partial

import jax
import numpy as np
import pytest

from jaxlm.errors import BadInput
from jaxlm.models.factorization import MatrixFactorization
from jaxlm.models.neumf import NeuMF
from jaxlm.models.sasrec import SASRec
from jaxlm.models.two_tower import TwoTower

USERS, ITEMS = np.array([0, 4, 2], np.int32), np.array([[3, 0], [1, 1], [6, 5]], np.int32)
SEEN = np.array([[2, 5, -1, -1], [0, 1, 6, 4], [-1, -1, -1, -1]], np.int32)
MODELS = {
    "mf": MatrixFactorization(users=5, items=7, width=4, std=0.5),
    "neumf": NeuMF(users=5, items=7, factors=3, width=4, hidden=(6, 5), std=0.5),
    "gmf": NeuMF(users=5, items=7, factors=3, hidden=(), std=0.5),
    "mlp": NeuMF(users=5, items=7, factors=0, width=4, hidden=(6,), std=0.5),
    "two towers": TwoTower(items=7, width=4, hidden=(5,), item_hidden=(6,), std=0.5),
    "two flat towers": TwoTower(items=7, width=4, std=0.5),
    "sasrec": SASRec(items=7, context=3, depth=1, width=4),
}


@cache
def prepared(name):
    model = MODELS[name]
    variables = jax.jit(model.init)(jax.random.key(0), np.zeros(1, np.int32), np.zeros((1, 1), np.int32))

    @partial(jax.jit, static_argnames="every")
    def score(variables, items=None, seen=SEEN, every=False):
        given = {"seen": seen} if "seen" in model.inputs else {}
        return model.apply(variables, USERS, items, **given, **({"every": True} if every else {}))

    return variables, score


@pytest.mark.parametrize("name", MODELS)
def test_chosen_items_have_the_scores_that_they_have_among_all(name):
    variables, score = prepared(name)
    whole = score(variables)
    assert whole.shape == (3, 7)
    np.testing.assert_allclose(score(variables, ITEMS), np.take_along_axis(whole, ITEMS, 1), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", MODELS)
def test_tables_can_be_split_by_row_over_up_to_64_devices(name):
    variables, _ = prepared(name)
    named = jax.tree_util.tree_leaves_with_path(variables["params"])
    tables = {jax.tree_util.keystr(path): x.shape[0] for path, x in named if "embedding" in jax.tree_util.keystr(path)}
    assert {count % 64 for key, count in tables.items() if "position" not in key} == {0}


def test_neumf_is_its_parts():
    variables, score = prepared("neumf")
    p = jax.tree.map(lambda x: np.asarray(x, np.float64), variables["params"])
    user, item = p["user_table"]["embedding"][4], p["item_table"]["embedding"][6]
    both = np.concatenate([p["user_table_of_layers"]["embedding"][4], p["item_table_of_layers"]["embedding"][6]])
    first = np.concatenate([p["user_hidden"]["kernel"], p["item_hidden"]["kernel"]])
    x = np.maximum(both @ first + p["user_hidden"]["bias"], 0)
    x = np.maximum(x @ p["hidden_1"]["kernel"] + p["hidden_1"]["bias"], 0)
    wanted = np.concatenate([user * item, x]) @ p["head"]["kernel"][:, 0] + p["head"]["bias"][0]
    np.testing.assert_allclose(score(variables)[1, 6], wanted, rtol=1e-5)
    with pytest.raises(BadInput, match="give one of them"):
        NeuMF(users=5, items=7, factors=0, hidden=()).validate()


def test_two_towers_read_a_set_of_items():
    variables, score = prepared("two towers")
    turned = SEEN[:, [3, 1, 0, 2]]
    np.testing.assert_allclose(score(variables, seen=turned), score(variables), rtol=1e-5, atol=1e-6)
    wider = np.pad(SEEN, ((0, 0), (0, 3)), constant_values=-1)
    np.testing.assert_allclose(score(variables, seen=wider), score(variables), rtol=1e-6)
    other = np.where(SEEN == 5, 3, SEEN)
    assert not np.allclose(score(variables, seen=other)[0], score(variables)[0])


def test_sasrec_reads_the_last_items_in_their_order_and_none_after_a_place():
    variables, score = prepared("sasrec")
    early = np.where(SEEN == 0, 3, SEEN)  # the first of four items, and the context is three
    np.testing.assert_array_equal(score(variables, seen=early), score(variables))
    assert not np.allclose(score(variables, seen=SEEN[:, [0, 2, 1, 3]])[1], score(variables)[1])
    every = score(variables, every=True)
    assert every.shape == (3, 3, 7)
    np.testing.assert_allclose(every[1, -1], score(variables)[1], rtol=1e-4, atol=1e-6)
    last = np.where(SEEN == 4, 2, SEEN)
    np.testing.assert_allclose(score(variables, every=True, seen=last)[1, :2], every[1, :2], rtol=1e-4, atol=1e-6)
