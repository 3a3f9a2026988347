"""Evaluations: sums on the devices, scores on the host, the same under every placement and for every batch size."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiny_run import PLACES, Points

from jaxlm import steps
from jaxlm.data.ragged import Bucketed, ragged
from jaxlm.errors import BadInput
from jaxlm.steps import Mean
from jaxlm.train import Evaluation
from jaxlm.train.evaluate import Evaluator
from step_helpers import everywhere, loss, make_batch, parameters

ROWS = make_batch(0, np.ones(21))


class Rank(NamedTuple):
    """The rank correlation of what is predicted and what is true, which no sum on a device gives."""

    numbers: np.ndarray
    predicted: np.ndarray
    true: np.ndarray

    def merge(self, other):
        return Rank(*map(np.append, self, other))

    def compute(self):
        ranks = [np.argsort(np.argsort(values)) for values in (self.predicted, self.true)]
        return {"correlation": float(np.corrcoef(*ranks)[0, 1]), "rows": float(len(self.numbers))}


def predict(state, batch):
    return {"predicted": jnp.tanh(batch["x"] @ state.params["hidden"]) @ state.params["out"]}


def score(found, batch):
    assert isinstance(found["predicted"], np.ndarray)
    real = batch["mask"] > 0
    return {"rank": Rank(batch["number"][real], found["predicted"][real], batch["y"][real])}


def begin(place):
    return place.init(lambda key: steps.new_state(parameters(), optax.sgd(0.1), key), jax.random.key(0))


def evaluator(name, batch=8, **evaluations):
    place = PLACES[name].build()
    data = Points(eval_batch=batch).eval()
    return Evaluator({key: Evaluation(data, *value) for key, value in evaluations.items()}, place), begin(place)


@everywhere
@pytest.mark.parametrize("batch", [4, 8, 24])
def test_a_score_on_the_host_is_that_of_all_rows_at_once(name, batch):
    found, state = evaluator(name, batch, ranks=(predict, score))
    predicted = np.tanh(ROWS["x"] @ parameters()["hidden"]) @ parameters()["out"]
    expected = Rank(np.arange(21), np.asarray(predicted), ROWS["y"]).compute()
    assert found.numbers(["ranks"], state) == pytest.approx({f"ranks/{key}": x for key, x in expected.items()})
    assert found.sums("ranks", state)["rank"].numbers.tolist() == list(range(21))  # each once, in order


@everywhere
@pytest.mark.parametrize("batch", [4, 24])
def test_a_sum_on_the_devices_is_the_mean_over_all_rows(name, batch):
    found, state = evaluator(name, batch, eval=(steps.evaluate(loss),))
    expected = steps.compute(loss(parameters(), {}, ROWS, None, train=False)[0], "eval/")
    assert found.numbers(["eval"], state) == pytest.approx(expected, rel=1e-5)


def test_several_evaluations_are_named_apart():
    sums = (steps.evaluate(loss),)
    found, state = evaluator("local", 8, eval=sums, hard=sums, ranks=(predict, score))
    assert set(found.numbers(["hard", "ranks"], state)) == {"hard/loss", "ranks/correlation", "ranks/rows"}


@everywhere
def test_the_keys_of_rows_give_the_same_noise_whatever_the_batch(name):
    def noisy(state, batch):
        keys = jax.random.wrap_key_data(batch["keys"], impl="threefry2x32")
        drawn = jax.vmap(jax.random.normal)(keys)
        return {"noise": Mean((drawn * batch["mask"]).sum(), batch["mask"].sum())}

    drawn = []
    for at, batch in (("local", 7), (name, 4), (name, 24)):
        found, state = evaluator(at, batch, eval=(noisy,))
        drawn.append(found.numbers(["eval"], state)["eval/noise"])
    assert drawn == pytest.approx([drawn[0]] * 3, rel=1e-5)


@everywhere
def test_batches_of_several_widths_are_scored_together(name):
    lengths = [1, 5, 2, 3, 8, 4, 6, 7, 2]
    rows = ragged({"tokens": [np.full(n, n, np.int32) for n in lengths]}, {"number": np.arange(9, dtype=np.int32)})
    data = Bucketed(rows, 4, (4, 8))

    def lengths_of(found, batch):
        real = batch["segments"].any(1)
        return {"rank": Rank(batch["number"][real], found[real], batch["segments"][real].sum(1))}

    evaluations = {"eval": Evaluation(data, lambda state, batch: batch["tokens"].max(1), lengths_of)}
    place = PLACES[name].build()
    found = Evaluator(evaluations, place).sums("eval", begin(place))["rank"]
    np.testing.assert_array_equal(found.predicted, found.true)
    assert sorted(found.numbers) == list(range(9))
    assert len({data[index]["tokens"].shape for index in range(len(data))}) == 2


@everywhere
def test_a_metric_that_merges_itself_is_refused_where_arrays_are_added(name):
    found, state = evaluator(name, 8, eval=(lambda state, batch: {"rank": Rank(*[batch["y"]] * 3)},))
    with pytest.raises(BadInput, match=r"^metric rank \(Rank\) has a `merge` of its own"):
        found.numbers(["eval"], state)


def test_an_evaluation_is_compiled_once():
    traced = []

    def outputs(state, batch):
        traced.append(batch)
        return {"loss": Mean(batch["y"].sum(), jnp.float32(1))}

    found, state = evaluator("local", 8, eval=(outputs,))
    assert found.numbers(["eval"], state) == found.numbers(["eval"], state)
    assert len(traced) == 1


class Drawn(NamedTuple):
    """What each row was given, of noise and of keys."""

    rows: tuple = ()

    def merge(self, other):
        return Drawn((*self.rows, *other.rows))

    def compute(self):
        return {"rows": len(self.rows)}


def noisy(params, variables, batch, key, *, train):
    """The noise of the batch's key, and that of each row's own key."""
    own = jax.vmap(jax.random.normal)(jax.random.wrap_key_data(batch["keys"], impl="threefry2x32"))
    return {"batch": jnp.full(len(own), jax.random.normal(key)), "row": own}, variables


def drawn(name, batch):
    """The noise of every real row."""

    def collect(found, batch):
        real = np.flatnonzero(batch["mask"])
        return {"drawn": Drawn(tuple((float(found["batch"][i]), float(found["row"][i])) for i in real))}

    place = PLACES[name].build()
    data = dataclasses.replace(Points(eval_batch=batch).eval(), keys=False)  # an evaluation adds them
    found = Evaluator({"eval": Evaluation(data, steps.evaluate(noisy), collect)}, place).sums("eval", begin(place))
    return np.array(found["drawn"].rows)


def test_no_two_batches_of_an_evaluation_share_their_noise_and_that_of_a_row_is_its_own():
    alone = drawn("local", 8)
    assert len(set(alone[:, 0])) == 3  # batches
    assert len(set(alone[:, 1])) == 21  # rows
    np.testing.assert_array_equal(drawn("local", 8), alone)
    np.testing.assert_array_equal(drawn("local", 4)[:, 1], alone[:, 1])
    dealt = drawn("pmap", 8)
    np.testing.assert_array_equal(dealt[:, 1], alone[:, 1])
    assert len(set(dealt[:, 0])) == 11  # parts of a batch with a real row, two rows each
