"""The loss of a point of a path by hand; its draws, whatever the batch, micro-batches and devices; dropped captions."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlm import parallel, steps
from jaxlm.errors import BadInput
from jaxlm.losses import FlowMatching
from jaxlm.losses.flow_matching import cosine_path, path_draws, straight_path
from jaxlm.models.bert import BERT
from jaxlm.models.dit import DiT
from jaxlm.steps import compute, merge

DRAW = np.random.default_rng(0)
ROWS = 4
BATCH = {
    "image": DRAW.normal(size=(ROWS, 4, 4, 2)).astype(np.float32),
    "tokens": DRAW.integers(2, 6, (ROWS, 3)).astype(np.int32),
    "segments": np.int32([[1, 1, 1], [1, 1, 0], [1, 0, 0], [1, 1, 1]]),
    "keys": DRAW.integers(0, 2**32, (ROWS, 2), np.uint32),
    "mask": np.float32([1, 2, 1, 0]),
}
MODEL = DiT(encoder=BERT(vocab=6, depth=1, width=8, heads=1, context=3), patch=2, depth=1, width=8, heads=2)
EXAMPLE = (BATCH["image"][:1], np.zeros(1, np.float32), BATCH["tokens"][:1], BATCH["segments"][:1])
PATHS = {"straight": straight_path, "cosine": cosine_path}


@pytest.mark.parametrize("name", PATHS)
def test_a_path_leads_from_noise_to_image_and_its_slope_is_its_derivative(name):
    path, rate = PATHS[name], {"straight": 1.0, "cosine": np.pi / 2}[name]
    times = jnp.linspace(0, 1, 7)
    at = path(times)
    np.testing.assert_allclose([at.image[0], at.noise[0], at.image[-1], at.noise[-1]], [0, 1, 1, 0], atol=1e-6)
    for value, slope in (("image", "image_slope"), ("noise", "noise_slope")):
        exact = jax.vmap(jax.grad(lambda time, value=value: getattr(path(time), value)))(times)
        np.testing.assert_allclose(exact, rate * getattr(at, slope), atol=1e-5)
    np.testing.assert_allclose(at.image * at.noise_slope - at.noise * at.image_slope, -1, atol=1e-6)


def test_the_cosine_slope_is_minus_v_of_salimans_and_ho():
    at = cosine_path(jnp.asarray(0.3))
    alpha, sigma, image, noise = np.asarray(at.image), np.asarray(at.noise), 0.7, -1.2
    assert alpha**2 + sigma**2 == pytest.approx(1, rel=1e-6)
    slope = at.image_slope * image + at.noise_slope * noise
    assert slope == pytest.approx(-(alpha * noise - sigma * image), rel=1e-5)


def returning(slope):
    """A model that returns the same slopes always, and what it was called with."""
    seen = []

    def apply(variables, *inputs, train, rngs):
        seen.append(inputs)
        return slope

    return SimpleNamespace(apply=apply), seen


@pytest.mark.parametrize("name", PATHS)
def test_the_loss_is_that_of_a_computation_by_hand(name):
    slope = DRAW.normal(size=BATCH["image"].shape).astype(np.float32)
    model, seen = returning(slope)
    found, _ = FlowMatching(path=name, drop=0.0)(model)({}, {}, BATCH, jax.random.key(0), train=True)
    drawn = path_draws(jnp.asarray(BATCH["keys"]), (4, 4, 2))
    total = 0.0
    for row in range(ROWS):
        time, noise, image = float(drawn.times_B[row]), np.asarray(drawn.noise_BHWC[row]), BATCH["image"][row]
        if name == "straight":
            point, target = time * image + (1 - time) * noise, image - noise
        else:
            s, c = np.sin(np.pi / 2 * time), np.cos(np.pi / 2 * time)
            point, target = s * image + c * noise, c * image - s * noise
        np.testing.assert_allclose(seen[0][0][row], point, atol=1e-5)
        total += BATCH["mask"][row] * np.square(slope[row] - target).mean()
    assert compute(found)["loss"] == pytest.approx(total / 4, rel=1e-5)


def test_draws_are_of_their_distributions_and_of_their_keys_alone():
    keys = np.random.default_rng(1).integers(0, 2**32, (2000, 2), np.uint32)
    drawn = path_draws(jnp.asarray(keys), (2, 2, 1))
    assert np.mean(drawn.times_B) == pytest.approx(0.5, abs=0.02)
    assert np.var(drawn.times_B) == pytest.approx(1 / 12, abs=0.01)
    assert np.mean(drawn.noise_BHWC) == pytest.approx(0, abs=0.04)
    assert np.std(drawn.noise_BHWC) == pytest.approx(1, abs=0.03)
    assert abs(np.corrcoef(drawn.times_B, drawn.chance_B)[0, 1]) < 0.06
    part = path_draws(jnp.asarray(keys[5:8]), (2, 2, 1))
    np.testing.assert_array_equal(part.noise_BHWC, drawn.noise_BHWC[5:8])


def test_captions_are_dropped_in_training_alone_and_in_their_share():
    keys = np.random.default_rng(2).integers(0, 2**32, (1000, 2), np.uint32)
    batch = {"image": np.zeros((1000, 1, 1, 1), np.float32), "tokens": np.ones((1000, 2), np.int32), "keys": keys}
    batch["segments"] = np.ones((1000, 2), np.int32)
    model, seen = returning(np.zeros((1000, 1, 1, 1), np.float32))
    for drop, train in ((0.0, True), (0.3, True), (1.0, True), (1.0, False)):
        FlowMatching(drop=drop)(model)({}, {}, batch, jax.random.key(0), train=train)
    shares = [float(1 - inputs[3][:, 0].mean()) for inputs in seen]
    assert shares == [0, pytest.approx(0.3, abs=0.04), 1, 0]


@pytest.mark.parametrize("field", [{"drop": -0.1}, {"drop": float("nan")}, {"path": "curved"}])
def test_what_cannot_be_is_one_line(field):
    with pytest.raises(BadInput, match=r"^loss\.(drop|path) is [^\n]+$"):
        FlowMatching(**field)(MODEL)


def moved(params):
    """Parameters that are not the initial ones, of which the last are zero."""
    leaves, shape = jax.tree.flatten(params)
    draw = np.random.default_rng(3)
    return jax.tree.unflatten(shape, [x + 0.1 * draw.normal(size=x.shape).astype(np.float32) for x in leaves])


def test_sums_of_parts_of_a_batch_are_those_of_the_whole():
    params = moved(jax.jit(MODEL.init)(jax.random.key(0), *EXAMPLE)["params"])
    loss = jax.jit(lambda batch: FlowMatching(drop=0.5)(MODEL)(params, {}, batch, jax.random.key(1), train=True)[0])
    whole, parts = loss(BATCH), [loss({k: x[i : i + 1] for k, x in BATCH.items()}) for i in range(ROWS)]
    assert compute(merge(*parts))["loss"] == pytest.approx(compute(whole)["loss"], rel=1e-5)


def after_a_step(place, micro_batches=1):
    """Parameters after one update on the devices of a placement."""
    tx = optax.sgd(0.5)
    state = place.init(lambda key: steps.init(MODEL, tx, EXAMPLE, key), jax.random.key(2))
    grad = steps.accumulate(steps.grad(FlowMatching(drop=0.5)(MODEL)), micro_batches)
    step = place.compile(steps.update(place.reduce(grad), tx))
    for _ in range(2):  # the first moves only what is zero
        state, _ = step(state, place.put(BATCH))
    return place.fetch(state).params


def test_an_update_does_not_depend_on_devices_or_micro_batches():
    alone = after_a_step(parallel.local())
    others = [after_a_step(parallel.pmap()), after_a_step(parallel.mesh(2, 2)), after_a_step(parallel.local(), 2)]
    for other in others:
        jax.tree.map(lambda one, same: np.testing.assert_allclose(one, same, rtol=1e-4, atol=2e-6), alone, other)
