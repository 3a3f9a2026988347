"""Whisper: a cache changes nothing, rows do not see each other, and what cannot be is refused."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlm.errors import BadInput
from jaxlm.models import whisper
from jaxlm.models.whisper import Whisper
from jaxlm.optim import AdamW

SMALL = Whisper(vocab=13, depth=1, width=16, heads=4, hidden=24, bands=5, source_context=6, context=9)


def sound(seed=0, frames=12, batch=3):
    return jax.random.normal(jax.random.key(seed), (batch, frames, SMALL.bands))


def draw(seed, length, batch=3):
    return jax.random.randint(jax.random.key(seed), (batch, length), 0, SMALL.vocab)


@cache
def variables():
    found = jax.jit(SMALL.init)(jax.random.key(0), sound(), draw(1, 3))
    return jax.tree.map(lambda x: 5 * x if x.ndim > 1 else x, found)  # larger than at the start, so that all counts


@partial(jax.jit, static_argnames=("method", "slots"))
def applied(variables, *inputs, method, slots, **options):
    return SMALL.apply(variables, *inputs, *(() if slots is None else (slots,)), method=method, **options)


def forward(*inputs, method=None, slots=None, **options):
    return applied(variables(), *inputs, method=method, slots=slots, **options)


def test_a_target_hears_all_of_the_sound_and_no_later_target():
    logits = forward(sound(), draw(2, 5))
    for t in range(5):
        changed = forward(sound(), draw(2, 5).at[:, t].set((draw(2, 5)[:, t] + 1) % 13))
        np.testing.assert_allclose(changed[:, :t], logits[:, :t], atol=1e-5)
        assert (jnp.abs(changed - logits)[:, t:].max(-1) > 1e-5).all()
    for frame in (0, 5, 11):
        changed = forward(sound().at[:, frame].add(1.0), draw(2, 5))
        assert (jnp.abs(changed - logits).max(-1) > 1e-5).all()


@pytest.mark.parametrize("parts", [(1, 1, 1, 1, 1), (3, 2), (5,)])
def test_decoding_with_a_cache_gives_the_logits_of_decoding_without(parts):
    targets = draw(2, 5)
    logits = forward(sound(), targets)
    state, begin = forward(sound(), slots=7, method="init_cache"), 0
    for part in parts:
        found, state = forward(targets[:, begin : begin + part], cache=state, method="decode")
        np.testing.assert_allclose(found, logits[:, begin : begin + part], atol=1e-5)
        begin += part


def test_a_row_does_not_depend_on_the_others():
    logits = forward(sound(), draw(2, 5))
    for row in range(3):
        alone = forward(sound()[row : row + 1], draw(2, 5)[row : row + 1])
        np.testing.assert_allclose(alone[0], logits[row], atol=1e-5)


def test_padding_behind_a_target_changes_nothing():
    targets, segments = draw(2, 5), jnp.array([[1, 1, 1, 0, 0]] * 3)
    padded = forward(sound(), targets, target_segments=segments)
    np.testing.assert_allclose(padded[:, :3], forward(sound(), targets[:, :3]), atol=1e-5)


def test_shorter_sound_has_the_first_places():
    encoded = forward(sound(frames=8), method="encode")
    assert encoded.shape == (3, 4, 16)


def test_positions_of_the_sound_are_sinusoids_that_are_never_trained():
    params = jax.tree.map(np.asarray, jax.jit(SMALL.init)(jax.random.key(0), sound(), draw(1, 3))["params"])
    table = np.asarray(params["source_positions"]["bias"])
    rates = 10000.0 ** (-np.arange(8) / 7)
    angles = np.arange(6)[:, None] * rates[None]
    np.testing.assert_allclose(table, np.concatenate([np.sin(angles), np.cos(angles)], 1), atol=1e-5)

    def loss(params):
        return SMALL.apply({"params": params}, sound(), draw(2, 5)).var()

    tx = AdamW(peak_lr=0.1, warmup=0, weight_decay=0.1)(10)
    updates, _ = jax.jit(lambda params: tx.update(jax.grad(loss)(params), tx.init(params), params))(params)
    assert not np.asarray(updates["source_positions"]["bias"]).any()
    assert np.asarray(updates["target_positions"]["embedding"]).any()


def test_keys_have_no_bias():
    params = variables()["params"]
    for block in (params["encoder"]["block_0"]["attention"], params["decoder"]["block_0"]["source_attention"]):
        assert {name for name, part in block.items() if "bias" in part} == {"query", "value", "output"}


@pytest.mark.parametrize("frames", [7, 14])
def test_frames_that_the_model_has_no_places_for_are_refused(frames):
    with pytest.raises(BadInput, match=f"^features of {frames} frames and 5 bands: this model takes an even number"):
        SMALL.apply(variables(), sound(frames=frames), draw(1, 3))


def test_a_token_outside_of_the_context_gives_nan():
    state = forward(sound(), slots=20, method="init_cache")
    logits, state = forward(draw(2, 9), cache=state, method="decode")
    assert np.isfinite(logits).all()
    assert np.isnan(forward(draw(2, 1), cache=state, method="decode")[0]).all()


@pytest.mark.parametrize(("name", "count"), [("WHISPER_TINY", 37_760_640), ("WHISPER_SMALL", 241_734_912)])
def test_the_published_shapes_have_the_published_sizes(name, count):
    model = getattr(whisper, name)
    sound = jnp.zeros((1, 2, model.bands))
    shapes = jax.eval_shape(model.init, jax.random.key(0), sound, jnp.zeros((1, 1), jnp.int32))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == count
