"""Classification metrics are sums: scikit-learn's numbers, whatever the batches, micro-batches and devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sklearn.metrics as sk
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scored import CLASSES, confusion, draw, metrics_of

from jaxlm.metrics import Calibration, Confusion, classification, top_k
from jaxlm.steps import compute
from step_helpers import assert_same_bits

examples = st.lists(st.tuples(st.integers(0, CLASSES - 1), st.integers(0, CLASSES - 1)), min_size=1, max_size=30)
lone = [(1, 1), (1, 3)]  # classes 0, 2 and 4 do not occur, and 3 only as a prediction


# The numbers.


@given(examples)
@example(lone)
def test_the_counts_are_scikit_learns(pairs):
    true, predicted = np.array(pairs, np.int32).T
    filled = (jnp.asarray(np.pad(values, (0, 30 - len(pairs)))) for values in (predicted, true, np.ones(len(pairs))))
    counts = Confusion.from_predictions(*filled, CLASSES).counts
    assert (counts.dtype, counts.shape) == (jnp.int32, (CLASSES, CLASSES))
    np.testing.assert_array_equal(counts, sk.confusion_matrix(true, predicted, labels=range(CLASSES)))


@given(examples)
@example(lone)
def test_averages_are_scikit_learns(pairs):
    true, predicted = np.array(pairs).T
    counts = confusion(pairs)
    for kind, mean in classification.class_averages(counts).items():
        expected = sk.precision_recall_fscore_support(true, predicted, average=kind, zero_division=0)[:3]
        assert [mean["precision"], mean["recall"], mean["f1"]] == pytest.approx(expected, rel=1e-14)


@given(examples)
@example(lone)
@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
@pytest.mark.filterwarnings("ignore:A single label was found")
def test_a_confusion_computes_the_scores_of_the_classes_that_occur(pairs):
    true, predicted = np.array(pairs).T
    f1 = {kind: sk.f1_score(true, predicted, average=kind, zero_division=0) for kind in ("macro", "weighted")}
    expected = {
        "accuracy": sk.accuracy_score(true, predicted),
        "precision_macro": sk.precision_score(true, predicted, average="macro", zero_division=0),
        "recall_macro": sk.recall_score(true, predicted, average="macro", zero_division=0),
        **{f"f1_{kind}": value for kind, value in f1.items()},
        "mcc": sk.matthews_corrcoef(true, predicted),
    }
    actual = Confusion(confusion(pairs)).compute()
    assert actual == pytest.approx(expected, rel=1e-14)
    assert {type(value) for value in actual.values()} == {float}


@given(st.integers(0, 999), st.integers(1, CLASSES - 1))
def test_top_k_without_ties_is_scikit_learns(seed, k):
    batch = draw(seed, 12)
    result = top_k(jnp.asarray(batch["logits"]), jnp.asarray(batch["labels"]), None, k)
    expected = sk.top_k_accuracy_score(batch["labels"], batch["logits"], k=k, labels=range(CLASSES))
    assert result.compute() == pytest.approx(expected, rel=1e-14)
    assert result.total.dtype == result.weight.dtype == jnp.int32


@pytest.mark.parametrize(
    ("logits", "k", "hit"),
    [
        ([1, 1, 1, 1], 1, False),  # the first one is the prediction
        ([1, 1, 1, 1], 2, True),
        ([0, 1, 1, 1], 1, True),
        ([2, 1, 1, 0], 2, True),
        ([2, 1, 3, 1], 2, False),
        ([0, -np.inf, -np.inf, -np.inf], 2, True),
        ([0, np.inf, np.inf, 0], 1, True),
        ([0, np.nan, 0, 0], 3, False),
        ([np.nan, 1, 0, 0], 1, False),
    ],
)
def test_of_equal_logits_the_first_are_the_largest_and_nan_is_larger(logits, k, hit):
    result = top_k(jnp.asarray([logits], jnp.float32), jnp.asarray([1]), None, k)
    assert (result.total, result.weight) == (hit, 1)


@pytest.mark.parametrize("k", [0, 5])
def test_top_k_of_fewer_classes_is_an_error(k):
    with pytest.raises(ValueError, match=f"the {k} largest of 4 logits: k must be from 1 to 4"):
        top_k(jnp.zeros((2, 4)), jnp.zeros(2, jnp.int32), None, k)


@settings(max_examples=30)
@given(st.integers(0, 999), st.integers(1, 20))
def test_calibration_is_a_brute_force_over_bins(seed, bins):
    batch = draw(seed, 40)
    confidence = np.asarray(jax.nn.softmax(batch["logits"]).max(-1), np.float64)
    right, counted = batch["logits"].argmax(-1) == batch["labels"], batch["mask"] > 0
    error = 0.0
    for low in range(bins):
        inside = (confidence > low / bins) & (confidence <= (low + 1) / bins) & counted
        if inside.any():
            error += inside.sum() / max(counted.sum(), 1) * abs(right[inside].mean() - confidence[inside].mean())
    counts_of = jax.jit(Calibration.from_logits, static_argnums=3)
    result = counts_of(*(batch[name] for name in ("logits", "labels", "mask")), bins)
    assert [x.shape for x in result] == [(bins,)] * 3
    assert [x.dtype for x in result] == [jnp.int32, jnp.int32, jnp.float32]
    assert result.counts.sum() == counted.sum()
    assert result.compute()["calibration_error"] == pytest.approx(error, abs=1e-6)


def test_a_confidence_on_an_edge_is_in_the_bin_below():
    logits = jnp.asarray([[0, 0], [0, 100], [0, 1]], jnp.float32)  # confidence 1/2, 1 and 0.73
    result = Calibration.from_logits(logits, jnp.asarray([0, 0, 1]), None, bins=4)
    assert result.counts.tolist() == [0, 1, 1, 1]
    assert result.correct.tolist() == [0, 1, 1, 0]


# What counts.


def test_masked_examples_of_label_0_and_labels_that_are_no_class_do_not_count():
    logits = np.eye(3, dtype=np.float32)[[0, 1, 0, 2, 1]]
    labels, mask = np.array([0, 1, 0, -1, 3]), np.array([0.0, 0.5, 1.0, 1.0, 1.0])
    metrics = metrics_of({"logits": jnp.asarray(logits), "labels": jnp.asarray(labels), "mask": jnp.asarray(mask)})
    np.testing.assert_array_equal(metrics["confusion"].counts, np.diag([1, 1, 0]))
    assert metrics["top_2"].weight == metrics["calibration"].counts.sum() == 2
    absent = Confusion.from_predictions(jnp.asarray([3, -1]), jnp.asarray([0, 0]), None, 3)
    assert not absent.counts.any()


def test_nan_in_a_masked_example_does_not_spread():
    batch = draw(0, 4)
    batch["mask"][:] = [1, 0, 1, 1]
    clean = metrics_of(jax.tree.map(jnp.asarray, batch))
    batch["logits"][1] = np.nan
    spoilt = metrics_of(jax.tree.map(jnp.asarray, batch))
    del clean["loss"], spoilt["loss"]
    assert_same_bits(spoilt, clean)


def test_nothing_counted_is_not_a_number_and_no_warning():
    batch = draw(0, 4)
    batch["mask"][:] = 0
    numbers = compute(metrics_of(jax.tree.map(jnp.asarray, batch)))
    assert len(numbers) == 9
    assert all(np.isnan(value) for value in numbers.values())


def test_a_thousand_classes():
    true, predicted = np.random.default_rng(0).integers(0, 1000, (2, 512))
    counts = jax.jit(Confusion.from_predictions, static_argnums=3)(predicted, true, None, 1000).counts
    np.testing.assert_array_equal(counts, sk.confusion_matrix(true, predicted, labels=range(1000)))


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int32, np.int64])
@pytest.mark.parametrize("classes", [10, 256, 300])
def test_labels_of_any_integer_dtype(dtype, classes):
    labels = np.array([3, 7, 0]).astype(dtype)
    assert Confusion.from_predictions(jnp.asarray([3, 7, 0]), labels, None, classes).counts.diagonal().sum() == 3
    assert Confusion.from_predictions(labels, jnp.asarray([3, 7, 0]), None, classes).counts.diagonal().sum() == 3
    assert top_k(jax.nn.one_hot(labels, classes), labels, None, 1).total == 3
    assert Calibration.from_logits(jnp.zeros((3, classes)), labels, None).correct.sum() == 1
