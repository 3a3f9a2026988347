"""The loss of a classifier against its formula: NumPy, scikit-learn and torch."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss

from jaxlm import steps
from jaxlm.errors import BadInput
from jaxlm.losses import Classification
from jaxlm.losses.classification import classification
from jaxlm.models.cnn import CNN

ROWS, FEATURES, CLASSES = 12, 4, 5
WEIGHTS = (0.5, 1.0, 2.0, 0.0, 3.0)


class Linear:
    """Logits are a product of the image and the parameters."""

    def __init__(self, dtype=jnp.float32):
        self.dtype = dtype

    def apply(self, variables, image, *, train, rngs=None, mutable=None):
        logits = (image.reshape(len(image), -1) @ variables["params"]).astype(self.dtype)
        return (logits, {}) if train else logits


def draw(seed, scale=2.0):
    numbers = np.random.default_rng(seed)
    params = (scale * numbers.normal(size=(FEATURES, CLASSES))).astype(np.float32)
    batch = {
        "image": numbers.normal(size=(ROWS, 2, 2, 1)).astype(np.float32),
        "label": np.append(np.arange(CLASSES), numbers.integers(0, CLASSES, ROWS - CLASSES)).astype(np.int32),
        "mask": numbers.choice([0, 0.5, 1], ROWS).astype(np.float32),
    }
    batch["mask"][0] = 1
    return params, batch


def soft(seed):
    return np.random.default_rng(seed).dirichlet(np.ones(CLASSES), ROWS).astype(np.float32)


@partial(jax.jit, static_argnames=("smoothing", "class_weights", "train"))
def measure(params, batch, smoothing=0.0, class_weights=(), train=True):
    loss = classification(Linear(), smoothing=smoothing, class_weights=class_weights)
    return loss(params, {}, batch, jax.random.key(0), train=train)[0]


@partial(jax.jit, static_argnames=("smoothing", "class_weights"))
def gradient(params, batch, smoothing=0.0, class_weights=()):
    loss = classification(Linear(), smoothing=smoothing, class_weights=class_weights)
    return steps.grad(loss)(params, {}, batch, jax.random.key(0))[0]


def logits_of(params, batch):
    return batch["image"].reshape(len(batch["image"]), -1).astype(np.float64) @ params.astype(np.float64)


def log_softmax(logits):
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def one_hot(labels):
    return np.eye(CLASSES)[labels]


# Against NumPy and scikit-learn.


@settings(max_examples=25)
@given(st.integers(0, 9999), st.sampled_from([0.0, 0.1, 1.0]), st.sampled_from([(), WEIGHTS]), st.booleans())
def test_the_loss_is_the_formula(seed, smoothing, class_weights, softly):
    params, batch = draw(seed)
    targets = soft(seed) if softly else one_hot(batch["label"])
    batch |= {"target": targets} if softly else {}
    weights = batch["mask"] * (targets @ np.asarray(class_weights) if class_weights else 1)
    smoothed = (1 - smoothing) * targets + smoothing / CLASSES
    nats = -(smoothed * log_softmax(logits_of(params, batch))).sum(-1)
    found = measure(params, batch, smoothing, class_weights)
    np.testing.assert_allclose(found["loss"].total, (nats * weights).sum(), rtol=2e-5, atol=1e-5)
    np.testing.assert_allclose(found["loss"].weight, weights.sum(), rtol=1e-5)
    right = logits_of(params, batch).argmax(-1) == batch["label"]
    assert found["accuracy"].total == right[batch["mask"] > 0].sum()
    assert found["accuracy"].weight == (batch["mask"] > 0).sum()


@pytest.mark.parametrize("weights", [None, "mask"])
def test_the_loss_is_scikit_learns_log_loss(weights):
    params, batch = draw(1)
    mask = batch.pop("mask")
    probabilities = np.exp(log_softmax(logits_of(params, batch)))
    expected = log_loss(batch["label"], probabilities, sample_weight=mask if weights else None)
    found = measure(params, batch | ({"mask": mask} if weights else {}), train=False)
    assert found["loss"].compute() == pytest.approx(expected, rel=1e-5)


def test_smoothing_and_class_weights_are_for_training_only():
    params, batch = draw(2)
    plain, other = measure(params, batch, train=False), measure(params, batch, 0.3, WEIGHTS, train=False)
    assert jax.tree.all(jax.tree.map(np.array_equal, plain, other))
    assert set(plain) == {"loss", "confusion", "calibration"}
    assert measure(params, batch, 0.3, WEIGHTS)["loss"].total != plain["loss"].total


@pytest.mark.parametrize("classes", [5, 6])
def test_top_five_is_told_where_there_are_more_classes(classes):
    params, batch = draw(3)
    params = np.concatenate([params, params[:, :1] + 1], axis=1)[:, :classes]
    found = measure(params, batch, train=False)
    assert ("top5_accuracy" in found) == (classes > 5)
    if classes > 5:
        kept = batch["mask"] > 0
        ranks = np.argsort(-logits_of(params, batch), -1)[:, :5]
        assert found["top5_accuracy"] == ((ranks == batch["label"][:, None]).any(-1)[kept].sum(), kept.sum())


# Against torch.


@pytest.mark.parametrize(
    ("smoothing", "class_weights", "target"),
    [(0.0, (), "label"), (0.1, (), "label"), (0.0, WEIGHTS, "label"), (0.0, (), "soft"), (0.2, (), "soft")],
)
def test_mean_loss_and_gradient_are_those_of_torch(smoothing, class_weights, target):
    """With class weights torch's mean is over the weights, and so is ours.

    Where torch does otherwise, ours is the weight of an example: torch with weights weighs each class's share of a
    smoothed or soft target by itself, and divides soft targets by the number of examples.
    """
    torch = pytest.importorskip("torch")
    params, batch = draw(4)
    del batch["mask"]
    goal = torch.tensor(batch["label"], dtype=torch.int64)
    if target == "soft":
        batch["target"] = soft(4)
        goal = torch.tensor(batch["target"])
    theirs = torch.tensor(params, requires_grad=True)
    loss = torch.nn.functional.cross_entropy(
        torch.tensor(batch["image"]).reshape(ROWS, -1) @ theirs,
        goal,
        weight=torch.tensor(class_weights) if class_weights else None,
        label_smoothing=smoothing,
    )
    loss.backward()
    ours = measure(params, batch, smoothing, class_weights)["loss"]
    assert ours.compute() == pytest.approx(loss.item(), rel=1e-5)
    mean = gradient(params, batch, smoothing, class_weights) / ours.weight
    np.testing.assert_allclose(mean, theirs.grad.numpy(), rtol=1e-4, atol=1e-6)


def test_a_mask_is_a_weight_of_torchs_single_losses():
    torch = pytest.importorskip("torch")
    params, batch = draw(5)
    theirs = torch.tensor(params, requires_grad=True)
    logits = torch.tensor(batch["image"]).reshape(ROWS, -1) @ theirs
    nats = torch.nn.functional.cross_entropy(logits, torch.tensor(batch["label"], dtype=torch.int64), reduction="none")
    (nats * torch.tensor(batch["mask"])).sum().backward()
    np.testing.assert_allclose(gradient(params, batch), theirs.grad.numpy(), rtol=1e-4, atol=1e-5)


# Sums over examples.


@pytest.mark.parametrize("parts", [2, 3, 4, 12])
@pytest.mark.parametrize("target", ["label", "soft"])
def test_parts_of_a_batch_add_up_to_the_whole(parts, target):
    params, batch = draw(6)
    batch |= {"target": soft(6)} if target == "soft" else {}
    for train in (True, False):
        whole = measure(params, batch, 0.1, WEIGHTS, train=train)
        each = [{name: x[i::parts] for name, x in batch.items()} for i in range(parts)]
        added = steps.merge(*(measure(params, part, 0.1, WEIGHTS, train=train) for part in each))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), added, whole)
    summed = sum(gradient(params, part, 0.1, WEIGHTS) for part in each)
    np.testing.assert_allclose(summed, gradient(params, batch, 0.1, WEIGHTS), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("train", [True, False])
def test_rows_without_weight_change_nothing(train):
    params, batch = draw(7)
    junk = {"image": np.full((3, 2, 2, 1), 50, np.float32), "label": np.int32([4, 0, -1]), "mask": np.zeros(3)}
    padded = {name: np.concatenate([x, junk[name].astype(x.dtype)]) for name, x in batch.items()}
    found, expected = (measure(params, x, 0.1, WEIGHTS, train=train) for x in (padded, batch))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), found, expected)
    np.testing.assert_allclose(gradient(params, padded), gradient(params, batch), rtol=1e-5, atol=1e-6)


def test_without_a_mask_every_example_counts_once():
    params, batch = draw(8)
    whole = measure(params, batch | {"mask": np.ones(ROWS, np.float32)})
    del batch["mask"]
    assert jax.tree.all(jax.tree.map(np.array_equal, measure(params, batch), whole))
    assert whole["loss"].weight == ROWS


def test_a_label_is_the_same_as_its_one_hot_target():
    params, batch = draw(9)
    found = measure(params, batch | {"target": one_hot(batch["label"]).astype(np.float32)}, 0.1, WEIGHTS)
    assert jax.tree.all(jax.tree.map(np.array_equal, found, measure(params, batch, 0.1, WEIGHTS)))


# Numbers.


def test_logits_in_bfloat16_are_computed_in_float32():
    params, batch = draw(10)
    loss = classification(Linear(jnp.bfloat16), smoothing=0.1)
    found, _ = loss(params, {}, batch, jax.random.key(0), train=True)
    assert found["loss"].total.dtype == found["loss"].weight.dtype == jnp.float32
    rounded = (batch["image"].reshape(ROWS, -1) @ params).astype(jnp.bfloat16).astype(np.float64)
    nats = -((0.9 * one_hot(batch["label"]) + 0.1 / CLASSES) * log_softmax(rounded)).sum(-1)
    np.testing.assert_allclose(found["loss"].total, (nats * batch["mask"]).sum(), rtol=1e-4)


@pytest.mark.parametrize("size", [1e2, 1e4, 1e30])
def test_large_logits_stay_finite_forward_and_backward(size):
    params, batch = draw(11)
    found = measure(params * np.float32(size), batch, 0.1)["loss"]
    slope = gradient(params * np.float32(size), batch, 0.1)
    assert np.isfinite(found.total)
    assert np.isfinite(slope).all()


# Variables.


def test_batch_statistics_change_in_training_only():
    model = CNN(classes=3, widths=(2,), hidden=4)
    images = np.random.default_rng(0).normal(size=(4, 4, 4, 1)).astype(np.float32)
    batch = {"image": images, "label": np.int32([0, 1, 2, 0])}
    variables = jax.jit(model.init)(jax.random.key(0), images)
    params = variables.pop("params")
    assert set(variables) == {"batch_stats"}
    loss = jax.jit(classification(model), static_argnames="train")
    _, trained = loss(params, variables, batch, jax.random.key(1), train=True)
    found, eval_variables = loss(params, variables, batch, jax.random.key(1), train=False)
    assert jax.tree.all(jax.tree.map(np.array_equal, eval_variables, variables))
    assert jax.tree.structure(trained) == jax.tree.structure(variables)
    assert not any(np.array_equal(a, b) for a, b in zip(*map(jax.tree.leaves, (trained, variables)), strict=True))
    after, _ = loss(params, trained, batch, jax.random.key(1), train=False)
    assert after["loss"].total != found["loss"].total


def test_a_spec_is_the_loss_with_its_fields():
    params, batch = draw(12)
    loss = Classification(smoothing=0.1, class_weights=WEIGHTS)(Linear())
    found, variables = jax.jit(partial(loss, train=True))(params, {}, batch, jax.random.key(0))
    assert variables == {}
    assert jax.tree.all(jax.tree.map(np.array_equal, found, measure(params, batch, 0.1, WEIGHTS)))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"class_weights": (1.0, 2.0)}, "^loss.class_weights has 2 numbers and the model 5 classes: give one weight"),
        ({"smoothing": 1.5}, "^loss.smoothing is 1.5: give a share from 0 to 1$"),
        ({"smoothing": -0.1}, "^loss.smoothing is -0.1: give a share"),
    ],
)
def test_a_loss_that_does_not_fit_is_refused(fields, message):
    params, batch = draw(13)
    with pytest.raises(BadInput, match=message):
        Classification(**fields)(Linear())(params, {}, batch, jax.random.key(0), train=True)


def test_equal_logits_are_the_first_class_in_training_as_in_evaluation():
    params, batch = draw(0)
    batch = {**batch, "mask": np.ones(ROWS, np.float32)}
    train, evaluation = (measure(jnp.zeros_like(params), batch, train=train) for train in (True, False))
    assert train["accuracy"].compute() == np.mean(batch["label"] == 0)
    assert evaluation["confusion"].compute()["accuracy"] == np.mean(batch["label"] == 0)


def test_a_class_that_is_ruled_out_adds_nothing_to_the_loss_of_another():
    """A logit of minus infinity has infinitely many nats, of which a target of 0 takes none."""
    params, batch = draw(0)
    batch = {**batch, "label": batch["label"] % (CLASSES - 1)}

    class Restricted(Linear):
        def apply(self, variables, image, **options):
            logits, changed = super().apply(variables, image, **options)
            return logits.at[:, -1].set(-jnp.inf), changed

    def total(params):
        loss = classification(Restricted())
        return loss(params, {}, batch, jax.random.key(0), train=True)[0]["loss"].total

    nats, gradient = jax.value_and_grad(total)(jnp.asarray(params))
    expected = -np.take_along_axis(log_softmax(logits_of(params, batch)[:, :-1]), batch["label"][:, None], 1)[:, 0]
    assert nats == pytest.approx((expected * batch["mask"]).sum(), rel=1e-5)
    assert np.isfinite(gradient).all()
    assert (np.asarray(gradient)[:, -1] == 0).all()
