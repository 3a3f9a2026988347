"""Clipping by ghost norms is clipping of every gradient by itself, on any model, in less memory."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlm import steps
from jaxlm.losses import TEXT, classification, next_token
from jaxlm.models.adapted import Adapted
from jaxlm.models.bert import BERT
from jaxlm.models.gpt import GPT
from jaxlm.models.heads import Classifier
from jaxlm.models.mlp import MLP
from jaxlm.nn.linear import Dense
from jaxlm.nn.lora import LoRA
from jaxlm.privacy.ghost import clip_each_by_ghost_norms
from jaxlm.steps import Mean, transforms

KEY = jax.random.key(0)
ENCODER = BERT(vocab=200, depth=2, width=16, heads=2, context=8, dropout=0.1)


def random_rows(count, **shapes):
    draw = np.random.default_rng(1)
    tokens = {name: draw.integers(1, 200, (count, *shape)).astype(np.int32) for name, shape in shapes.items()}
    keys = np.asarray(jax.random.key_data(jax.random.split(jax.random.key(5), count)))
    labels = draw.integers(0, 3, count).astype(np.int32)
    mask = np.array([1.0, 0.0] + [1.0] * (count - 2), np.float32)
    return tokens | {"label": labels, "keys": keys, "mask": mask}


def image_rows(count):
    rows = random_rows(count)
    return rows | {"image": np.random.default_rng(2).normal(size=(count, 3, 3, 1)).astype(np.float32)}


class Shared(nn.Module):
    """One matrix is used by two calls, one is read by the loss too, one is scaled before it is used."""

    @nn.compact
    def __call__(self, image, *, train=False):
        x = image.reshape(len(image), -1)
        twice, once = Dense(9, name="twice"), Dense(40, name="once")
        x = twice(nn.tanh(twice(x)))
        return Dense(3, name="head")(nn.tanh(once(x)))


def shared_loss(params, variables, batch, key, *, train):
    params = params | {"head": jax.tree.map(lambda x: 2 * x, params["head"])}
    metrics, variables = classification(Shared())(params, variables, batch, key, train=train)
    penalty = jnp.square(params["once"]["kernel"]).sum() * batch["mask"].sum()
    return metrics | {"loss": Mean(metrics["loss"].total + penalty, metrics["loss"].weight)}, variables


def cases():
    mlp = MLP(hidden=(32,), classes=3, dropout=0.3)
    classifier = Classifier(encoder=ENCODER, classes=3)
    adapted = Adapted(classifier, LoRA(rank=2, pattern="kernel$", full="^head/"))  # merged before they are used
    images, texts = image_rows(4), random_rows(4, tokens=(6,))
    gpt = GPT(vocab=300, depth=1, width=32, heads=2, context=6)
    spoken = random_rows(4, tokens=(6,), targets=(6,))
    del spoken["mask"]
    return {
        "mlp": (mlp, classification(mlp), images, images["image"], 2),
        "bert": (classifier, classification(classifier, inputs=TEXT), texts, texts["tokens"], 3),
        "adapters": (adapted, classification(adapted, inputs=TEXT), texts, texts["tokens"], 0),
        "tied": (gpt, next_token(gpt), spoken, spoken["tokens"], 1),
        "shared": (Shared(), shared_loss, images, images["image"], 1),
    }


@pytest.mark.parametrize("copies", [1, 2])
@pytest.mark.parametrize("case", ["mlp", "bert", "adapters", "tied", "shared"])
def test_it_is_the_clipped_gradient_of_each_example(case, copies):
    model, loss, batch, example, least = cases()[case]
    variables = model.init(KEY, example)
    params = variables.pop("params")
    params = jax.tree.map(lambda x: x + 0.1 * jax.random.normal(KEY, x.shape), params)  # so that nothing is zero
    each = jax.jit(steps.clip_each(loss, 0.5, copies=copies))
    ghost = jax.jit(clip_each_by_ghost_norms(loss, 0.5, copies=copies))
    expected, metrics, _ = each(params, variables, batch, KEY)
    found, same, _ = ghost(params, variables, batch, KEY)
    for ours, reference in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(ours, reference, atol=1e-5)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5), same, metrics)
    assert metrics["clipped"].total > 0
    assert taken_out(ghost, params, variables, batch) >= least


def taken_out(ghost, params, variables, batch):
    """How many shapes of matrices have no gradient for each of four examples in the program."""
    program = str(jax.make_jaxpr(ghost)(params, variables, batch, KEY))
    shapes = {x.shape for x in jax.tree.leaves(params) if x.ndim == 2}
    return sum(f"f32[4,{high},{wide}]" not in program for high, wide in shapes)


def test_it_finds_the_matrices_of_a_loss_in_half_precision():
    model, loss, batch, example, least = cases()["bert"]
    params = model.init(KEY, example)["params"]
    loss = transforms.cast(loss, "bfloat16")
    ghost = clip_each_by_ghost_norms(loss, 0.5)
    assert taken_out(ghost, params, {}, batch) >= least
    found, _, _ = jax.jit(ghost)(params, {}, batch, KEY)
    expected, _, _ = jax.jit(steps.clip_each(loss, 0.5))(params, {}, batch, KEY)
    for ours, reference in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert ours.dtype == reference.dtype
        np.testing.assert_allclose(ours, reference, atol=0.02 * float(jnp.abs(reference).max()) + 1e-3)


def test_no_example_in_half_precision_exceeds_the_bound():
    """Noise is for a bound that holds; slopes that are scaled in bfloat16 exceed it by up to 0.3 %."""
    model, loss, batch, example, _ = cases()["bert"]
    params = model.init(KEY, example)["params"]
    loss = transforms.cast(loss, "bfloat16")
    grad = jax.jit(lambda one: optax.tree.norm(clip_each_by_ghost_norms(loss, 0.3)(params, {}, one, KEY)[0]))
    rows = random_rows(24, tokens=(batch["tokens"].shape[1],)) | {"mask": np.ones(24, np.float32)}
    found = [float(grad(jax.tree.map(lambda x, row=row: x[row : row + 1], rows))) for row in range(24)]
    assert max(found) <= 0.3 * (1 + 1e-5)
    assert np.mean(np.isclose(found, 0.3, rtol=1e-5)) > 0.5  # most are clipped


def test_an_example_that_is_not_finite_or_masked_adds_nothing():
    model, loss, batch, example, _ = cases()["mlp"]
    params = model.init(KEY, example)["params"]
    ghost = jax.jit(clip_each_by_ghost_norms(loss, 0.5))
    broken = batch | {"image": np.where(np.arange(4).reshape(4, 1, 1, 1) == 2, np.inf, batch["image"])}
    masked = batch | {"mask": np.array([1, 0, 0, 1], np.float32)}
    jax.tree.map(np.testing.assert_array_equal, *(ghost(params, {}, one, KEY)[0] for one in (broken, masked)))


def test_layers_that_are_recomputed_are_clipped_as_others():
    model, _, batch, example, _ = cases()["bert"]
    loss = classification(model.clone(encoder=ENCODER.clone(remat=True)), inputs=TEXT)
    params = model.init(KEY, example)["params"]
    found, _, _ = jax.jit(clip_each_by_ghost_norms(loss, 0.5))(params, {}, batch, KEY)
    expected, _, _ = jax.jit(steps.clip_each(loss, 0.5))(params, {}, batch, KEY)
    for ours, reference in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(ours, reference, atol=1e-5)
