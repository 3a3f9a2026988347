from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlm.errors import BadInput
from jaxlm.models import t5
from jaxlm.models.t5 import T5

SMALL = T5(vocab=13, depth=2, width=16, heads=4, hidden=24, head_width=6, buckets=8, reach=10)
VARIANTS = {
    "1.0": SMALL,
    "1.1": SMALL.clone(activation="geglu", tied=False, decoder_depth=1),
}
every_variant = pytest.mark.parametrize("model", VARIANTS.values(), ids=VARIANTS.keys())


def draw(seed, length, batch=2):
    return jax.random.randint(jax.random.key(seed), (batch, length), 1, SMALL.vocab)


@cache
def make_variables(model):
    """Larger tables of positions than at the start, so that they count."""
    variables = jax.jit(model.init)(jax.random.key(0), draw(1, 4), draw(2, 3))
    return jax.tree.map_with_path(lambda path, x: 4 * x if "positions" in jax.tree_util.keystr(path) else x, variables)


@partial(jax.jit, static_argnames=("model", "train", "method"))
def forward(model, variables, *tokens, train=False, method=None, **inputs):
    return model.apply(variables, *tokens, train=train, method=method, **inputs)


@every_variant
def test_a_target_sees_all_of_the_source_and_no_later_target(model):
    variables, source, targets = make_variables(model), draw(1, 6), draw(2, 5)
    logits = forward(model, variables, source, targets)
    for t in range(5):
        changed = forward(model, variables, source, targets.at[:, t].set(targets[:, t] % 12 + 1))
        np.testing.assert_allclose(changed[:, :t], logits[:, :t], atol=1e-5)
        assert (jnp.abs(changed - logits)[:, t:].max(-1) > 1e-4).all()
    for s in range(6):
        changed = forward(model, variables, source.at[:, s].set(source[:, s] % 12 + 1), targets)
        assert (jnp.abs(changed - logits).max(-1) > 1e-4).all()


def test_padding_changes_nothing_wherever_it_stands():
    model = VARIANTS["1.1"]
    variables, source, targets = make_variables(model), draw(1, 5), draw(2, 4)
    alone = forward(model, variables, source, targets)
    hidden = forward(model, variables, source, method="encode")
    for before, after in ((0, 3), (2, 1)):
        padded = jnp.pad(source, ((0, 0), (before, after)), constant_values=7)
        segments = jnp.pad(jnp.ones_like(source), ((0, 0), (before, after)))
        here = slice(before, before + 5)
        np.testing.assert_allclose(forward(model, variables, padded, targets, segments=segments), alone, atol=1e-5)
        encoded = forward(model, variables, padded, method="encode", segments=segments)
        np.testing.assert_allclose(encoded[:, here], hidden, atol=1e-5)


def test_packed_pairs_equal_the_pairs_alone():
    model = VARIANTS["1.1"]
    variables = make_variables(model)
    pairs = [(draw(1, 4, 1), draw(2, 3, 1)), (draw(3, 2, 1), draw(4, 4, 1))]
    source, targets = (jnp.pad(jnp.concatenate(side, axis=1), ((0, 0), (0, 2))) for side in zip(*pairs, strict=True))
    segments, target_segments = jnp.array([[1] * 4 + [2] * 2 + [0] * 2]), jnp.array([[1] * 3 + [2] * 4 + [0] * 2])
    packed = forward(model, variables, source, targets, segments=segments, target_segments=target_segments)
    np.testing.assert_allclose(packed[:, :3], forward(model, variables, *pairs[0]), atol=1e-5)
    np.testing.assert_allclose(packed[:, 3:7], forward(model, variables, *pairs[1]), atol=1e-5)


@every_variant
def test_a_cache_filled_in_pieces_equals_no_cache(model):
    variables, source, targets = make_variables(model), draw(1, 6), draw(2, 12)
    segments = jnp.array([[1] * 6, [1] * 4 + [0] * 2])
    begin = jax.jit(partial(model.apply, length=16, method="init_cache"))
    decode = jax.jit(partial(model.apply, method="decode"))
    state, pieces = begin(variables, source, segments=segments), []
    for piece in (targets[:, :6], targets[:, 6:]):
        logits, state = decode(variables, piece, cache=state)
        pieces.append(logits)
    whole = forward(model, variables, source, targets, segments=segments)
    np.testing.assert_allclose(jnp.concatenate(pieces, axis=1), whole, atol=1e-5)
    assert state.targets.filled == 12


def test_only_distances_count_and_from_reach_on_none():
    variables, blank = make_variables(SMALL), np.zeros((1, 30), np.int32)

    def two_words(first, second):
        tokens, segments = blank.copy(), blank.copy()
        tokens[0, [first, second]], segments[0, [first, second]] = (3, 4), 1
        return forward(SMALL, variables, tokens, method="encode", segments=segments)[0, first]

    assert jnp.abs(two_words(0, 1) - two_words(0, 4)).max() > 1e-3
    assert jnp.abs(two_words(4, 0) - two_words(0, 4)).max() > 1e-3
    np.testing.assert_allclose(two_words(0, SMALL.reach), two_words(0, 29), atol=1e-6)
    np.testing.assert_allclose(two_words(5, 8), two_words(0, 3), atol=1e-5)


def test_only_a_tied_read_out_is_scaled():
    tied, untied = make_variables(SMALL), make_variables(SMALL.clone(tied=False))
    own = {**tied["params"], "head": {"kernel": tied["params"]["embed"]["embedding"].T}}
    logits = forward(SMALL, tied, draw(1, 4), draw(2, 3))
    free = forward(SMALL.clone(tied=False), {"params": own}, draw(1, 4), draw(2, 3))
    np.testing.assert_allclose(free, logits * SMALL.width**0.5, rtol=1e-4, atol=1e-4)
    assert set(untied["params"]) - set(tied["params"]) == {"head"}


def test_dropout_acts_in_training_only_and_follows_its_key():
    model, variables = SMALL.clone(dropout=0.5), make_variables(SMALL)
    tokens = draw(1, 4), draw(2, 3)
    assert jnp.array_equal(forward(model, variables, *tokens), forward(SMALL, variables, *tokens))
    once, again, other = (
        forward(model, variables, *tokens, train=True, rngs={"dropout": jax.random.key(seed)}) for seed in (1, 1, 2)
    )
    assert jnp.array_equal(once, again)
    assert not jnp.array_equal(once, other)


def test_kernels_start_by_their_fan_in_and_logits_at_unit_scale():
    model = T5(vocab=500, depth=2, width=256, heads=4, hidden=512, tied=True)
    params = jax.jit(model.init)(jax.random.key(0), draw(1, 4), draw(2, 3))["params"]
    layer = params["encoder"]["block_1"]
    np.testing.assert_allclose(params["embed"]["embedding"].std(), 1, rtol=0.02)
    np.testing.assert_allclose(layer["attention"]["query"]["kernel"].std(), (256 * 64) ** -0.5, rtol=0.02)
    np.testing.assert_allclose(layer["attention"]["value"]["kernel"].std(), 256**-0.5, rtol=0.02)
    np.testing.assert_allclose(layer["feed_forward"]["down"]["kernel"].std(), 512**-0.5, rtol=0.02)
    logits = forward(model, {"params": params}, draw(1, 4), draw(2, 3))
    assert 0.7 < logits.std() < 1.4


def test_half_precision_gives_half_precision_logits_near_the_full_ones():
    variables, tokens = make_variables(SMALL), (draw(1, 4), draw(2, 3))
    half = forward(SMALL, jax.tree.map(lambda x: x.astype(jnp.bfloat16), variables), *tokens)
    full = forward(SMALL, variables, *tokens)
    assert half.dtype == jnp.bfloat16
    assert jnp.abs(half - full).mean() < 0.1 * jnp.abs(full).mean()


@pytest.mark.parametrize(
    ("model", "count"),
    [(t5.T5_SMALL, 60_506_624), (t5.T5_BASE, 222_903_552), (t5.T5_SMALL_1_1, 76_961_152)],
)
def test_parameter_counts_equal_the_published_ones(model, count):
    variables = jax.eval_shape(model.init, jax.random.key(0), draw(1, 4), draw(2, 3))
    assert set(variables) == {"params"}
    assert sum(x.size for x in jax.tree.leaves(variables)) == count


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"heads": 0}, "model.heads is 0"),
        ({"decoder_depth": -1}, "model.decoder_depth is -1"),
        ({"buckets": 7}, "model.buckets is 7: it must be even"),
        ({"reach": 4}, "model.reach 4 must be more than half of model.buckets 8"),
        ({"dropout": 1.0}, "model.dropout is 1.0"),
    ],
)
def test_fields_that_cannot_work_are_refused_in_one_line(changes, words):
    with pytest.raises(BadInput, match=words) as error:
        jax.eval_shape(SMALL.clone(**changes).init, jax.random.key(0), draw(1, 4), draw(2, 3))
    assert "\n" not in str(error.value)
