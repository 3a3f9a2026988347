"""A negative label or target is an example that is not there, in every loss; one beyond the classes is an error."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlm.losses import classification, dpo, masked_language_model, next_token, token_classification
from jaxlm.metrics import Tags
from jaxlm.steps import Mean

ROWS, LENGTH, CLASSES = 6, 4, 5
TAGS = Tags(("O", "B-PER", "I-PER", "B-LOC", "I-LOC"))


class Table:
    """A model that answers with its parameters, and with zeros for what it was at first."""

    def apply(self, variables, inputs, mutable=(), **options):
        logits = variables["params"]["logits"]
        return (logits, {}) if mutable != () else logits

    def apply_base(self, variables, inputs, **options):
        return jnp.zeros_like(variables["params"]["logits"])


# loss, name of what it predicts, shape of that, shape of the logits
CASES = {
    "next_token": (next_token(Table(), np.ones(CLASSES)), "targets", (ROWS, LENGTH), (ROWS, LENGTH, CLASSES)),
    "masked": (masked_language_model(Table()), "targets", (ROWS, LENGTH), (ROWS, LENGTH, CLASSES)),
    "tags": (token_classification(Table(), TAGS), "targets", (ROWS, LENGTH), (ROWS, LENGTH, CLASSES)),
    "classes": (
        classification(Table(), smoothing=0.1, class_weights=(1, 2, 3, 4, 5), inputs=("tokens",)),
        "label",
        (ROWS,),
        (ROWS, CLASSES),
    ),
    "dpo": (dpo(Table()), "targets", (ROWS, 2, LENGTH), (2 * ROWS, LENGTH, CLASSES)),
}
of_every_loss = pytest.mark.parametrize("name", CASES)


def draw(name):
    _, kind, shape, logits = CASES[name]
    numbers = np.random.default_rng(3)
    chosen = numbers.integers(0, CLASSES, shape).astype(np.int32)
    ignored = numbers.random(shape) < 0.4
    ignored.reshape(-1)[0] = True
    batch = {kind: chosen, "mask": np.ones(shape, np.float32)}
    batch |= {name: np.ones(shape, np.int32) for name in ("tokens", "segments")}
    return numbers.normal(size=logits).astype(np.float32), kind, batch, ignored


def measure(name, logits, batch, train):
    def total(params):
        metrics, _ = CASES[name][0](params, {}, batch, jax.random.key(0), train=train)
        return metrics["loss"].total, metrics

    return jax.jit(jax.grad(total, has_aux=True))({"logits": jnp.asarray(logits)})


@pytest.mark.parametrize("train", [True, False])
@of_every_loss
def test_a_negative_target_is_a_masked_one_in_every_metric_and_the_gradient(name, train):
    logits, kind, batch, ignored = draw(name)
    masked = measure(name, logits, batch | {"mask": np.where(ignored, 0, batch["mask"])}, train)
    for value in (-100, -1):
        negative = batch | {kind: np.where(ignored, value, batch[kind])}
        negative.pop("mask") if name != "dpo" else None
        jax.tree.map(np.testing.assert_array_equal, measure(name, logits, negative, train), masked)
    everything = measure(name, logits, batch, train)
    assert everything[1]["loss"].total != masked[1]["loss"].total  # there is something to ignore


@of_every_loss
def test_what_is_ignored_may_be_infinite_or_nan(name):
    logits, kind, batch, ignored = draw(name)
    rows = ignored.reshape(logits.shape[:-1])
    expected, metrics = measure(name, logits, batch | {kind: np.where(ignored, -100, batch[kind])}, False)
    logits[rows, 0] = -np.inf
    chosen = np.where(ignored, -100 if name != "next_token" else 0, batch[kind])
    grad, found = measure(name, logits, batch | {kind: chosen, "mask": np.where(ignored, 0, batch["mask"])}, False)
    np.testing.assert_array_equal(found["loss"].total, metrics["loss"].total)
    np.testing.assert_array_equal(grad["logits"], expected["logits"])


@of_every_loss
def test_a_target_beyond_the_classes_is_not_a_number(name):
    logits, kind, batch, _ = draw(name)
    beyond = batch[kind].copy()
    beyond.reshape(-1)[0] = CLASSES
    assert np.isnan(measure(name, logits, batch | {kind: beyond}, True)[1]["loss"].total)


def test_an_example_whose_soft_target_is_empty_has_no_weight_and_a_soft_target_needs_no_label():
    logits, _, batch, ignored = draw("classes")
    soft = np.random.default_rng(5).dirichlet(np.ones(CLASSES), ROWS).astype(np.float32)
    _, masked = measure("classes", logits, batch | {"target": soft, "mask": np.where(ignored, 0, 1.0)}, True)
    empty = np.where(ignored[:, None], 0, soft)
    unlabelled = batch | {"label": np.full(ROWS, -100, np.int32), "target": empty}
    _, found = measure("classes", logits, unlabelled, True)
    assert found["loss"] == masked["loss"]
    assert found["accuracy"] == Mean(0, 0)
