import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxlm.decode.generate import generate
from jaxlm.decode.score import score
from jaxlm.errors import BadInput
from jaxlm.losses import next_token
from jaxlm.models.gpt import GPT

MODEL = GPT(vocab=11, depth=2, width=16, heads=4, context=16)
VARIABLES = jax.tree.map(
    lambda x: 10 * x, jax.jit(MODEL.init)(jax.random.key(0), jnp.zeros((1, 4), jnp.int32))
)  # far from uniform
TOKENS = st.lists(st.integers(0, 10), min_size=1, max_size=8)
PAIRS = st.lists(st.tuples(TOKENS, TOKENS), min_size=1, max_size=5)


def by_the_loss(context, continuation):
    """Minus the sum of the training loss over the continuation alone, and whether all of it was the likeliest."""
    row = np.array([*context, *continuation], np.int32)
    count = len(continuation)
    mask = np.arange(15) >= len(row) - 1 - count
    pad = (0, 16 - len(row))
    tokens, targets = np.pad(row, pad)[:-1], np.pad(row, pad)[1:]
    batch = {"tokens": tokens[None], "targets": targets[None], "mask": (mask & (np.arange(15) < len(row) - 1))[None]}
    loss = LOSS(VARIABLES["params"], batch)
    return -float(loss["loss"].total), float(loss["accuracy"].total) == count


LOSS = jax.jit(lambda params, batch: next_token(MODEL)(params, {}, batch, jax.random.key(0), train=False)[0])


@settings(max_examples=25)
@given(PAIRS, st.sampled_from([1, 3]))
def test_scores_are_the_sums_of_the_loss_whatever_the_batch(pairs, batch):
    found = score(MODEL, VARIABLES, pairs, batch=batch)
    expected = [by_the_loss(*pair) for pair in pairs]
    np.testing.assert_allclose([total for total, _ in found], [total for total, _ in expected], rtol=1e-5, atol=1e-5)
    assert [greedy for _, greedy in found] == [greedy for _, greedy in expected]


def test_what_greedy_decoding_gives_is_greedy_and_any_other_continuation_is_not():
    context = [1, 2, 3]
    likeliest = generate(MODEL, VARIABLES, [context], jax.random.key(0), length=5, temperature=0)[0]
    others = [[*likeliest[:at], (likeliest[at] + 1) % 11, *likeliest[at + 1 :]] for at in range(5)]
    found = score(MODEL, VARIABLES, [(context, tokens) for tokens in (likeliest, *others)])
    assert [greedy for _, greedy in found] == [True, *[False] * 5]


def test_all_continuations_of_one_token_have_probability_one_together():
    found = score(MODEL, VARIABLES, [([4, 5], [token]) for token in range(11)])
    assert np.exp([total for total, _ in found]).sum() == pytest.approx(1, abs=1e-5)
    assert sum(greedy for _, greedy in found) == 1


def test_the_beginning_of_a_context_that_is_too_long_is_forgotten():
    context, continuation = [number % 11 for number in range(40)], [3, 1, 4]
    whole, seen, more = score(
        MODEL, VARIABLES, [(context, continuation), (context[-14:], continuation), (context[-13:], continuation)]
    )
    assert whole == seen
    assert whole[0] != pytest.approx(more[0], abs=1e-4)


@pytest.mark.parametrize(
    ("pair", "told"),
    [
        (([], [1]), "pair 0 has no context"),
        (([1], []), "no continuation"),
        (([1], [11]), "outside of 0 .. 10"),
        (([-1], [1]), "outside of 0 .. 10"),
        (([1], [2] * 17), "17 tokens, more than the model's context of 16"),
    ],
)
def test_what_cannot_be_scored_is_refused(pair, told):
    with pytest.raises(BadInput, match=told):
        score(MODEL, VARIABLES, [pair])
