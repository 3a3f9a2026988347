"""Several steps in one program are the same steps."""

from functools import partial

import jax
import numpy as np
import optax
import pytest

from jaxlm import steps
from jaxlm.losses import next_token
from jaxlm.models.gpt import GPT
from jaxlm.steps.transforms import repeat
from step_helpers import assert_close, assert_same_bits, loss, make_batch, noisy_loss, start

TX = optax.adam(1e-2)


def ragged(seed):
    return make_batch(seed, [1, 0.5, 0, 1])


def text(seed):
    draw = np.random.default_rng(seed)
    tokens = draw.integers(0, 11, (4, 9)).astype(np.int32)
    mask = (np.arange(8)[None] < draw.integers(1, 9, (4, 1))).astype(np.float32)
    return {"tokens": tokens[:, :-1], "targets": tokens[:, 1:], "mask": mask}


def language_model(dropout):
    model = GPT(vocab=11, depth=1, width=8, heads=2, context=8, dropout=dropout)
    begin = partial(steps.init, model, TX, text(0)["tokens"], jax.random.key(0))
    return next_token(model), jax.jit(begin), text


CASES = {
    "network": lambda: (loss, partial(start, TX), ragged),
    "network with noise": lambda: (noisy_loss, partial(start, TX), ragged),
    "transformer": lambda: language_model(0.0),
    "transformer with dropout": lambda: language_model(0.5),
}


@pytest.mark.parametrize("case", CASES)
def test_repeated_steps_are_single_steps_bit_for_bit(case):
    times = 3
    task, begin, batch_of = CASES[case]()
    step = steps.update(steps.grad(task), TX)
    single, repeated = jax.jit(step), jax.jit(repeat(step, times))
    one_by_one = at_once = begin()
    for turn in range(2):
        batches = tuple(batch_of(turn * times + i) for i in range(times))
        all_metrics = []
        for batch in batches:
            one_by_one, metrics = single(one_by_one, batch)
            all_metrics.append(metrics)
        at_once, merged = repeated(at_once, batches)
        assert_same_bits(at_once, one_by_one)
        assert_close(merged, steps.merge(*all_metrics))
    assert at_once.step == 2 * times


def test_repeating_once_takes_a_tuple_of_one_batch():
    step = steps.update(steps.grad(loss), TX)
    state, metrics = jax.jit(step)(start(TX), ragged(0))
    repeated_state, repeated_metrics = jax.jit(repeat(step, 1))(start(TX), (ragged(0),))
    assert_same_bits(repeated_state, state)
    assert_same_bits(repeated_metrics, metrics)


def test_metrics_are_merged_by_weight_and_not_averaged():
    step = repeat(steps.update(steps.grad(loss), optax.sgd(0.0)), 2)
    light, heavy = make_batch(0, [1, 0, 0, 0]), make_batch(1, [3, 3, 3, 3])
    _, metrics = step(start(optax.sgd(0.0)), (light, heavy))
    assert metrics["loss"].weight == 13
    assert metrics["grad_norm"].weight == 2


@pytest.mark.parametrize("count", [0, 1, 3])
def test_another_number_of_batches_is_refused(count):
    step = repeat(steps.update(steps.grad(loss), TX), 2)
    with pytest.raises(ValueError, match=rf"takes 2 batches and got {count}"):
        step(start(TX), tuple(ragged(i) for i in range(count)))


def test_a_repeat_of_a_repeat_takes_tuples_of_tuples():
    step = steps.update(steps.grad(loss), TX)
    batches = tuple(ragged(i) for i in range(4))
    flat, _ = jax.jit(repeat(step, 4))(start(TX), batches)
    nested, _ = jax.jit(repeat(repeat(step, 2), 2))(start(TX), (batches[:2], batches[2:]))
    assert_same_bits(nested, flat)
