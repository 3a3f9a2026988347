"""Latents have mean 0 and variance 1 and give no gradient back; a picture is the decoded latent, exactly."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlm import parallel, steps
from jaxlm.decode.pictures import Paint
from jaxlm.errors import BadInput
from jaxlm.losses import FlowMatching
from jaxlm.losses.flow_matching import in_latents, path_draws
from jaxlm.models.bert import BERT
from jaxlm.models.dit import DiT
from jaxlm.models.latent_diffusion import LatentDiffusion, latent_statistics
from jaxlm.models.vq_vae import VQVAE
from jaxlm.steps import compute, transforms

PICTURES = VQVAE(shape=(8, 8, 1), widths=(4,), book=8, code_width=2)
PAINTER = DiT(encoder=BERT(vocab=6, depth=1, width=8, heads=1, context=3), patch=2, depth=1, width=8, heads=2)
MODEL = LatentDiffusion(PICTURES, PAINTER)
DRAW = np.random.default_rng(0)
BATCH = {
    "image": DRAW.normal(size=(4, 8, 8, 1)).astype(np.float32),
    "tokens": DRAW.integers(2, 6, (4, 3)).astype(np.int32),
    "segments": np.int32([[1, 1, 1], [1, 1, 0], [1, 0, 0], [1, 1, 1]]),
    "keys": DRAW.integers(0, 2**32, (4, 2), np.uint32),
    "mask": np.float32([1, 2, 1, 0]),
}
EXAMPLE = (np.zeros((1, 4, 4, 2), np.float32), np.zeros(1, np.float32), BATCH["tokens"][:1], BATCH["segments"][:1])
LOSS = in_latents(FlowMatching(drop=0.5)(MODEL), MODEL)


def frozen(path):
    return path.startswith("pictures/")


@pytest.fixture(scope="module")
def variables():
    """Of a model whose latents were measured, with noise on every weight."""
    found = jax.jit(MODEL.init)(jax.random.key(0), *EXAMPLE)
    params = jax.tree.map(lambda x: x + 0.3 * jax.random.normal(jax.random.key(x.size), x.shape), found["params"])
    return {"params": params, "latents": latent_statistics(MODEL, params["pictures"], images(), batch=10)}


def images():
    return jax.random.normal(jax.random.key(3), (25, 8, 8, 1))


def test_each_channel_of_latents_has_mean_0_and_variance_1(variables):
    latents = np.asarray(MODEL.apply(variables, images(), method="latents"))
    np.testing.assert_allclose(latents.mean((0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(latents.var((0, 1, 2)), 1, rtol=1e-4)
    plain = MODEL.apply(
        {**variables, "latents": {"mean": jnp.zeros(2), "deviation": jnp.ones(2)}}, images(), method="latents"
    )
    assert np.abs(np.asarray(plain).var((0, 1, 2)) - 1).min() > 0.1


def test_a_picture_of_latents_is_what_the_autoencoder_makes(variables):
    latents = MODEL.apply(variables, images(), method="latents")
    again = MODEL.apply(variables, latents, method="picture")
    expected = PICTURES.apply({"params": variables["params"]["pictures"]}, images()).image
    np.testing.assert_allclose(again, expected, rtol=1e-4, atol=1e-4)


def test_a_sample_is_the_decoded_latent_sample(variables):
    """The painter alone, with its own parameters, makes the same latents; the autoencoder alone decodes them."""
    noise = jax.random.normal(jax.random.key(4), (4, 4, 4, 2))
    how = BATCH["tokens"], BATCH["segments"], noise, jnp.full(4, 3), jnp.full(4, 2.0)
    painted = Paint()(MODEL, FlowMatching().at, variables, *how)
    alone = Paint()(PAINTER, FlowMatching().at, {"params": variables["params"]["painter"]}, *how)
    np.testing.assert_array_equal(painted, alone)
    at = variables["latents"]
    vectors = (alone * at["deviation"][None, None, None] + at["mean"][None, None, None]).reshape(4, 16, 2)
    own = {"params": variables["params"]["pictures"]}
    codes = PICTURES.apply(own, vectors, method="nearest")
    expected = PICTURES.apply(own, codes, method="picture")
    np.testing.assert_array_equal(MODEL.apply(variables, painted, method="picture"), expected)


def test_the_loss_is_that_of_the_latents(variables):
    params, others = variables["params"], {"latents": variables["latents"]}
    found = compute(LOSS(params, others, BATCH, jax.random.key(0), train=False)[0])["loss"]
    latents, drawn = MODEL.apply(variables, BATCH["image"], method="latents"), path_draws(BATCH["keys"], (4, 4, 2))
    times = drawn.times_B[:, None, None, None]
    point = times * latents + (1 - times) * drawn.noise_BHWC
    slope = MODEL.apply(variables, point, drawn.times_B, BATCH["tokens"], BATCH["segments"])
    error = np.square(slope - (latents - drawn.noise_BHWC)).mean((1, 2, 3))
    assert found == pytest.approx((error * BATCH["mask"]).sum() / 4, rel=1e-5)


def test_no_gradient_reaches_the_autoencoder(variables):
    gradient, _, _ = steps.grad(LOSS)(variables["params"], {"latents": variables["latents"]}, BATCH, jax.random.key(0))
    assert all((x == 0).all() for x in jax.tree.leaves(gradient["pictures"]))
    assert max(np.abs(x).max() for x in jax.tree.leaves(gradient["painter"])) > 0


def after_steps(place, variables, parts=1):
    tx = optax.chain(optax.add_decayed_weights(0.1), optax.sgd(0.1))
    tx = optax.multi_transform(
        {"held": optax.set_to_zero(), "free": tx},
        lambda params: {k: "held" if k == "pictures" else "free" for k in params},
    )
    grad = steps.accumulate(steps.grad(transforms.freeze(LOSS, frozen)), parts)

    def init(key):
        state = steps.init(MODEL, tx, EXAMPLE, key)
        return state.replace(params=variables["params"], variables={"latents": variables["latents"]})

    state = place.init(init, jax.random.key(0))
    step = place.compile(steps.update(place.reduce(grad), tx))
    for _ in range(2):
        state, _ = step(state, place.put(BATCH))
    return place.fetch(state)


def test_devices_and_micro_batches_do_not_matter_and_the_autoencoder_stays(variables):
    alone = after_steps(parallel.local(), variables)
    jax.tree.map(np.testing.assert_array_equal, alone.params["pictures"], variables["params"]["pictures"])
    jax.tree.map(np.testing.assert_array_equal, alone.variables, {"latents": variables["latents"]})
    for place, parts in ((parallel.pmap(), 1), (parallel.mesh(2, 2), 1), (parallel.local(), 2)):
        other = after_steps(place, variables, parts)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), alone.params, other.params)


def test_a_patch_that_does_not_divide_the_grid_is_one_line():
    with pytest.raises(
        BadInput, match=r"model.painter.patch is 3: it must divide \[4, 4\], the grid of the autoencoder"
    ):
        LatentDiffusion(PICTURES, PAINTER.clone(patch=3)).validate()
