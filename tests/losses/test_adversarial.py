"""The two losses by hand; penalties are of the gradient; kernels are divided by NumPy's largest singular value."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlm import steps
from jaxlm.errors import BadInput
from jaxlm.losses import Adversarial
from jaxlm.losses.adversarial import game_draws, spectral_normalise
from jaxlm.models.bert import BERT
from jaxlm.models.gan import GAN
from jaxlm.steps import compute, merge
from jaxlm.steps.transforms import lend

DRAW = np.random.default_rng(0)
ROWS, SHAPE = 4, (4, 4, 2)
BATCH = {
    "image": DRAW.normal(size=(ROWS, *SHAPE)).astype(np.float32),
    "tokens": DRAW.integers(2, 6, (ROWS, 3)).astype(np.int32),
    "segments": np.int32([[1, 1, 1], [1, 1, 0], [1, 0, 0], [1, 1, 1]]),
    "keys": DRAW.integers(0, 2**32, (ROWS, 2), np.uint32),
    "mask": np.float32([1, 2, 1, 0]),
}
SLOPE = DRAW.normal(size=(1, *SHAPE)).astype(np.float32)
KEY = jax.random.key(1)


def simple_game():
    """A judge S x + x^2 / 2, a maker that repeats its first draw times its parameter, and what both are asked."""
    asked = []

    def apply(variables, x, tokens, segments, method):
        asked.append((method, x, segments))
        if method == "judge":
            return (x * variables["params"] + x**2 / 2).sum((1, 2, 3))
        return jnp.broadcast_to(x[:, :1, None, None], (len(x), *SHAPE)) * variables["params"]

    return SimpleNamespace(apply=apply, latent=3), asked


def prices(game, real, made):
    if game == "nonsaturating":
        return np.log1p(np.exp(-real)) + np.log1p(np.exp(made)), np.log1p(np.exp(-made))
    if game == "wasserstein":
        return made - real, -made
    return np.maximum(1 - real, 0) + np.maximum(1 + made, 0), -made


@pytest.mark.parametrize("game", ["nonsaturating", "wasserstein", "hinge"])
@pytest.mark.parametrize("penalty", ["none", "r1", "gradient"])
def test_losses_and_penalties_are_those_of_a_computation_by_hand(game, penalty):
    (model, _), spec, mask = simple_game(), Adversarial(game=game, penalty=penalty, weight=0.07), BATCH["mask"]
    for half, train in ((0, True), (0, False), (1, True)):
        drawn = jax.device_get(game_draws(jnp.asarray(BATCH["keys"]), 3, half))
        made = np.broadcast_to(0.3 * drawn.noise_BZ[:, :1, None, None], (ROWS, *SHAPE))
        of_real, of_made = ((x * SLOPE + x**2 / 2).sum((1, 2, 3)) for x in (BATCH["image"], made))
        of_judge, of_maker = prices(game, of_real, of_made)
        if half:
            found, _ = spec.making(model)(jnp.float32(0.3), {"judge": SLOPE}, BATCH, KEY, train=train)
            expected = of_maker
        else:
            found, _ = spec.judging(model)(SLOPE, {"maker": jnp.float32(0.3)}, BATCH, KEY, train=train)
            share = drawn.share_B[:, None, None, None]
            at = BATCH["image"] if penalty == "r1" else share * BATCH["image"] + (1 - share) * made
            squared = np.square(SLOPE + at).sum((1, 2, 3))
            extra = {"none": 0 * squared, "r1": squared, "gradient": (np.sqrt(squared) - 1) ** 2}[penalty]
            expected = of_judge + (0.07 * extra if train else 0)
            told = ((of_real > 0) * 1.0 + (of_made < 0)) / 2
            assert compute(found)["accuracy"] == pytest.approx((told * mask).sum() / 4)
        assert compute(found)["loss"] == pytest.approx((expected * mask).sum() / 4, rel=1e-4)


def test_both_halves_see_the_same_captions_and_have_noise_of_their_own():
    keys = np.random.default_rng(2).integers(0, 2**32, (1000, 2), np.uint32)
    batch = {"image": np.zeros((1000, *SHAPE), np.float32), "keys": keys}
    batch |= {name: np.ones((1000, 2), np.int32) for name in ("tokens", "segments")}
    for drop, train, share in ((0.0, True, 0), (0.3, True, 0.3), (0.3, False, 0), (1.0, True, 1), (1.0, False, 1)):
        (model, asked), spec = simple_game(), Adversarial(penalty="none", drop=drop)
        spec.judging(model)(SLOPE, {"maker": jnp.float32(0.3)}, batch, KEY, train=train)
        spec.making(model)(jnp.float32(0.3), {"judge": SLOPE}, batch, KEY, train=train)
        kept = [np.asarray(segments)[:, 0] for _, _, segments in asked]
        assert all((one == kept[0]).all() for one in kept)
        assert 1 - kept[0].mean() == pytest.approx(share, abs=0.04)
        first, second = (np.asarray(x) for method, x, _ in asked if method == "make")
        assert abs(np.corrcoef(first[:, 0], second[:, 0])[0, 1]) < 0.1
        assert first.std() == pytest.approx(1, abs=0.05)


def test_kernels_are_divided_by_the_largest_singular_value_and_nothing_else_is():
    dense, conv = DRAW.normal(size=(20, 7)), 3 * DRAW.normal(size=(3, 3, 4, 6))
    params = {"a": {"kernel": dense, "bias": DRAW.normal(size=7)}, "b": {"kernel": conv, "scale": np.ones(3)}}
    params = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), params)
    found = spectral_normalise(params)
    for name in params:
        kernel = np.asarray(params[name]["kernel"], np.float64).reshape(-1, params[name]["kernel"].shape[-1])
        largest = np.linalg.svd(kernel, compute_uv=False)[0]
        divided = np.asarray(found[name]["kernel"]).reshape(kernel.shape)
        np.testing.assert_allclose(divided, kernel / largest, rtol=0.05)
    assert found["a"]["bias"] is params["a"]["bias"]
    assert found["b"]["scale"] is params["b"]["scale"]
    again = spectral_normalise(jax.tree.map(lambda x: 10 * x, params))
    np.testing.assert_allclose(again["b"]["kernel"], found["b"]["kernel"], rtol=1e-4)


def test_gradients_of_parts_of_a_batch_sum_to_that_of_the_whole():
    model = GAN(BERT(vocab=6, depth=1, width=8, heads=1, context=3), shape=SHAPE, latent=3, widths=(4,))
    caption = BATCH["tokens"][:1], BATCH["segments"][:1]
    firsts = {"make": np.zeros((1, 3), np.float32), "judge": BATCH["image"][:1]}
    made, judged = (
        jax.jit(lambda x, method=method: model.init(KEY, x, *caption, method=method))(x)["params"]
        for method, x in firsts.items()
    )
    spec = Adversarial(drop=0.5, spectral=True)
    for loss, name, lent, params in (
        (spec.judging(model), "maker", made, judged),
        (spec.making(model), "judge", judged, made),
    ):
        grad = jax.jit(lend(steps.grad(loss), name, lambda _, lent=lent: lent))
        whole, metrics, variables = grad(params, {}, BATCH, KEY)
        assert variables == {}
        assert all(np.abs(x).max() > 0 for x in jax.tree.leaves(whole))
        parts = [grad(params, {}, {n: x[i : i + 1] for n, x in BATCH.items()}, KEY) for i in range(ROWS)]
        total = jax.tree.map(lambda *x: sum(x), *(part for part, _, _ in parts))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), total, whole)
        assert compute(merge(*(m for _, m, _ in parts)))["loss"] == pytest.approx(compute(metrics)["loss"], rel=1e-5)


@pytest.mark.parametrize("field", [{"game": "chess"}, {"penalty": "r2"}, {"weight": -1.0}, {"drop": 1.5}])
def test_what_cannot_be_is_one_line(field):
    with pytest.raises(BadInput, match=r"^loss(\.(game|penalty))? is [^\n]+$"):
        Adversarial(**field)
