"""Codes of images, and a transformer over captions and codes: what is trained is what is sampled from."""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxlm.decode.picture_codes import PaintCodes
from jaxlm.errors import BadInput
from jaxlm.losses import NextCode, VectorQuantisation
from jaxlm.losses.picture_codes import CodeUsage
from jaxlm.models.dalle import DALLE
from jaxlm.models.gpt import GPT
from jaxlm.models.vq_vae import VQVAE

PICTURES = VQVAE(shape=(4, 4, 1), widths=(4,), book=2, code_width=2)
MODEL = DALLE(PICTURES, GPT(vocab=5 + 1 + 2, depth=1, width=16, heads=2, context=6))
TOKENS, SEGMENTS = jnp.array([[3, 1, 0]]), jnp.array([[1, 1, 0]])


@pytest.fixture(scope="module")
def image():
    return jax.random.normal(jax.random.key(1), (3, 4, 4, 1))


@pytest.fixture(scope="module")
def variables(image):
    found = MODEL.init(jax.random.key(0), image[:1], TOKENS, SEGMENTS)
    return jax.tree.map(lambda x: x + 0.3 * jax.random.normal(jax.random.key(x.size), x.shape), found)


def apply(variables, *inputs, **how):
    return MODEL.apply(variables, *inputs, **how)


def autoencoder(variables):
    return {"params": variables["params"]["pictures"]}


def test_a_picture_of_the_codes_is_what_training_makes_of_the_image(variables, image):
    found = PICTURES.apply(autoencoder(variables), image)
    codes = PICTURES.apply(autoencoder(variables), image, method="codes")
    np.testing.assert_array_equal(codes, found.codes)
    again = PICTURES.apply(autoencoder(variables), codes, method="picture")
    np.testing.assert_allclose(again, found.image, atol=1e-5)
    alone = PICTURES.apply(autoencoder(variables), image[1:2], method="codes")
    np.testing.assert_array_equal(alone, codes[1:2])


def test_a_code_is_the_nearest_of_the_book(variables, image):
    found = PICTURES.apply(autoencoder(variables), image)
    book = np.array(variables["params"]["pictures"]["book"])
    book /= np.linalg.norm(book, axis=1, keepdims=True)
    distance = np.linalg.norm(np.asarray(found.vectors)[:, :, None] - book, axis=-1)
    np.testing.assert_array_equal(found.codes, distance.argmin(-1))


def test_the_encoder_has_the_gradient_of_the_decoder_at_the_code(variables, image):
    """Without the terms that draw vectors and codes together; equation 1 of van den Oord et al. and what follows it."""

    def reconstruction(encoder):
        params = {**variables["params"]["pictures"], "encoder": encoder}
        return jnp.square(PICTURES.apply({"params": params}, image).image - image).sum()

    def by_hand(encoder):
        params = {**variables["params"]["pictures"], "encoder": encoder}
        vectors = PICTURES.apply({"params": params}, image).vectors
        return (vectors * at_code).sum()

    def decoded(nearest):
        bound = PICTURES.bind(autoencoder(variables))
        return jnp.square(bound._grow(nearest) - image).sum()

    at_code = jax.grad(decoded)(PICTURES.apply(autoencoder(variables), image).nearest)
    encoder = variables["params"]["pictures"]["encoder"]
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5),
        jax.grad(reconstruction)(encoder),
        jax.grad(by_hand)(encoder),
    )


def test_sampling_reads_the_logits_that_are_trained(variables, image):
    """With the codes of an image fed one by one to the cache."""
    logits, codes = apply(variables, image[:1], TOKENS, SEGMENTS)
    cache = MODEL.transformer.init_cache(1, 3 + 4)
    found, cache = apply(variables, MODEL.words(TOKENS, SEGMENTS), cache=cache, method="advance")
    for number in range(4):
        np.testing.assert_allclose(found, logits[:, number], atol=1e-5)
        if number < 3:
            found, cache = apply(
                variables, MODEL.vocab + 1 + codes[:, number : number + 1], cache=cache, method="advance"
            )


def test_words_at_empty_places_do_not_matter_and_other_words_do(variables, image):
    logits, _ = apply(variables, image[:1], TOKENS, SEGMENTS)
    same, _ = apply(variables, image[:1], TOKENS.at[0, 2].set(4), SEGMENTS)
    np.testing.assert_array_equal(same, logits)
    other, _ = apply(variables, image[:1], TOKENS.at[0, 1].set(4), SEGMENTS)
    assert np.abs(other - logits).max() > 1e-3


@pytest.mark.parametrize("guidance", [1.0, 0.0])
def test_codes_are_drawn_with_the_probabilities_of_the_model(guidance, variables):
    """All 16 sequences of four codes of a book of two; guidance 0 is the model without a caption."""
    count, sequences = 4000, np.array(list(product(range(2), repeat=4)))
    words = MODEL.words(TOKENS, SEGMENTS * int(guidance))
    rows = jnp.concatenate([jnp.repeat(words, 16, 0), MODEL.vocab + 1 + sequences[:, :-1]], 1)
    logits = MODEL.transformer.apply({"params": variables["params"]["transformer"]}, rows)[:, 2:, MODEL.vocab + 1 :]
    log = np.take_along_axis(np.asarray(jax.nn.log_softmax(logits), np.float64), sequences[:, :, None], 2).sum((1, 2))
    keys = jax.random.split(jax.random.key(5), count)
    painted = PaintCodes(guidance=guidance)
    codes = painted.sample(MODEL, variables, jnp.repeat(MODEL.words(TOKENS, SEGMENTS), count, 0), keys)
    counts = np.bincount(np.asarray(codes) @ [8, 4, 2, 1], minlength=16)
    assert stats.chisquare(counts, np.exp(log) / np.exp(log).sum() * count).pvalue > 1e-3
    assert np.exp(log).max() < 0.9  # a test of one sequence alone would be none


def test_a_picture_does_not_depend_on_its_batch(variables):
    keys = jax.random.split(jax.random.key(7), 3)
    paint = PaintCodes(guidance=2.0, top_k=2)
    tokens, segments = jnp.repeat(TOKENS, 3, 0), jnp.repeat(SEGMENTS, 3, 0)
    together = paint(MODEL, variables, tokens, segments, keys)
    alone = paint(MODEL, variables, TOKENS, SEGMENTS, keys[1:2])
    np.testing.assert_allclose(together[1:2], alone, atol=1e-5)


def test_losses_are_the_sums_that_they_say(variables, image):
    batch = {"image": image, "mask": jnp.array([1.0, 0.0, 1.0])}
    metrics, _ = VectorQuantisation(0.5)(PICTURES)(autoencoder(variables)["params"], {}, batch, None, train=True)
    found = PICTURES.apply(autoencoder(variables), image)
    error = np.square(found.image - image).mean((1, 2, 3))
    gap = np.square(np.asarray(found.vectors - found.nearest)).mean((1, 2))
    np.testing.assert_allclose(metrics["loss"].compute(), (error + 1.5 * gap)[[0, 2]].mean(), rtol=1e-5)
    counts = np.bincount(np.asarray(found.codes)[[0, 2]].reshape(-1), minlength=2)
    np.testing.assert_array_equal(metrics["code_perplexity"].counts, counts)
    batch |= {"tokens": jnp.repeat(TOKENS, 3, 0), "segments": jnp.repeat(SEGMENTS, 3, 0)}
    metrics, _ = NextCode()(MODEL)(variables["params"], {}, batch, None, train=False)
    logits, codes = apply(variables, image, batch["tokens"], batch["segments"])
    nats = -np.take_along_axis(np.asarray(jax.nn.log_softmax(logits)), np.asarray(codes)[..., None], 2)[..., 0]
    np.testing.assert_allclose(metrics["loss"].compute(), nats[[0, 2]].mean(), rtol=1e-5)


@pytest.mark.parametrize(("counts", "expected"), [([5, 5, 5, 5], 4.0), ([7, 0, 0], 1.0), ([0, 0], np.nan)])
def test_code_usage_is_a_perplexity(counts, expected):
    np.testing.assert_allclose(CodeUsage(np.array(counts)).compute(), expected)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PaintCodes(temperature=-1.0), "decode.temperature is -1.0"),
        (lambda: PaintCodes(top_k=0), "decode.top_k is 0"),
        (lambda: NextCode(drop=2.0)(MODEL), "loss.drop is 2.0"),
        (lambda: VQVAE(shape=(6, 4, 1), widths=(4, 4)).validate(), "multiples of 4"),
        (lambda: MODEL.clone(transformer=MODEL.transformer.clone(vocab=3)).validate(), "it must hold the words"),
    ],
)
def test_what_cannot_be_is_one_line(make, message):
    with pytest.raises(BadInput, match=message):
        make()
