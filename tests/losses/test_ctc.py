"""CTC is the sum over all paths of a text; it does not read padding, and what has no path neither counts nor spoils."""

from functools import partial
from itertools import groupby, product

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlm import steps
from jaxlm.losses import ctc
from jaxlm.losses.ctc import ctc_nats as eager_nats
from jaxlm.models.speech_to_tokens import BiLSTM, SpeechToTokens

BLANK = 2  # the last of three outputs
ctc_nats = jax.jit(eager_nats, static_argnums=4)


def spelt(path, blank=BLANK):
    """What a path spells: repeats merged, blanks dropped."""
    return tuple(token for token, _ in groupby(path) if token != blank)


def summed(log_probs, target):
    """The log-probability of a text, summed over every path there is."""
    size, count = log_probs.shape[1], len(log_probs)
    paths = [path for path in product(range(size), repeat=count) if spelt(path) == tuple(target)]
    totals = [sum(log_probs[time, token] for time, token in enumerate(path)) for path in paths]
    return np.logaddexp.reduce(totals) if totals else -np.inf


def batch_of(targets, outputs, time=5, seed=0, width=4):
    """Logits [B, T, 3], lengths, targets [B, width] filled with rubbish, and their lengths."""
    logits = np.random.default_rng(seed).normal(size=(len(targets), time, 3)).astype(np.float32) * 2
    rows = np.full((len(targets), width), 1, np.int32)
    for row, target in zip(rows, targets, strict=True):
        row[: len(target)] = target
    return logits, np.array(outputs, np.int32), rows, np.array([len(target) for target in targets], np.int32)


TARGETS = [(0,), (0, 1), (0, 0), (1, 1, 0), (), (0, 1, 0, 1)]
OUTPUTS = [5, 4, 3, 5, 3, 4]


def test_it_is_the_sum_over_all_paths_of_the_outputs_that_are_not_padding():
    logits, outputs, rows, lengths = batch_of(TARGETS, OUTPUTS)
    nats, possible = ctc_nats(logits, outputs, rows, lengths, BLANK)
    assert possible.all()
    for row, target in enumerate(TARGETS):
        log_probs = np.asarray(jax.nn.log_softmax(logits[row, : outputs[row]].astype(np.float64)))
        assert float(nats[row]) == pytest.approx(-summed(log_probs, target), rel=1e-4, abs=1e-4)


def test_a_target_needs_an_output_for_each_token_and_a_blank_between_equal_ones():
    targets, outputs = [(0, 0), (0, 0), (0, 1), (0, 1), (1, 1, 1), (1, 1, 1), (), ()], [2, 3, 1, 2, 4, 5, 1, 0]
    logits, outputs, rows, lengths = batch_of(targets, outputs)
    nats, possible = ctc_nats(logits, outputs, rows, lengths, BLANK)
    assert possible.tolist() == [False, True] * 3 + [True, False]
    assert np.isfinite(nats).all()
    assert np.asarray(nats)[~np.asarray(possible)].tolist() == [0] * 4


def test_it_is_never_negative_where_the_text_is_certain():
    logits, outputs, rows, lengths = batch_of([(0, 1)], [5])
    logits[:] = -40
    for time, token in enumerate((0, BLANK, 1, BLANK, BLANK)):
        logits[0, time, token] = 60
    nats, _ = ctc_nats(logits, outputs, rows, lengths, BLANK)
    assert 0 <= float(nats[0]) < 1e-4


def test_what_is_impossible_has_no_gradient_and_changes_no_other():
    logits, outputs, rows, lengths = batch_of([(0, 1), (0, 0)], [5, 2])

    @partial(jax.jit, static_argnums=1)
    @jax.grad
    def slope(logits, count):
        return ctc_nats(logits[:count], outputs[:count], rows[:count], lengths[:count], BLANK)[0].sum()

    both, alone = (np.asarray(slope(jnp.asarray(logits), count)) for count in (2, 1))
    assert np.isfinite(both).all()
    assert not both[1].any()
    np.testing.assert_allclose(both[0], alone[0], rtol=1e-6)
    wild = jnp.asarray(logits).at[1].set(np.inf)  # not even where its outputs are broken
    assert np.isfinite(slope(wild, 2)[0]).all()


MODEL = SpeechToTokens(vocab=3, encoder=BiLSTM(depth=1, width=8, dropout=0.0), bands=8, channels=2, dropout=0.0)


def features(rows=4, frames=24, seed=0):
    draw = np.random.default_rng(seed)
    lengths = np.array([24, 9, 17, 4][:rows], np.int32)
    values = draw.normal(size=(rows, frames, 8)).astype(np.float32)
    values *= (np.arange(frames) < lengths[:, None])[..., None]
    targets = np.array([[0, 1, 2], [1, 0, 0], [2, 2, 0], [0, 0, 0]], np.int32)[:rows]
    return {
        "features": values,
        "frames": lengths,
        "targets": targets,
        "target_lengths": np.array([3, 1, 2, 2], np.int32)[:rows],  # the last one needs 3 outputs and has 1
        "mask": np.ones(rows, np.float32),
    }


@pytest.fixture(scope="module")
def variables():
    batch = features()
    return jax.jit(MODEL.init)(jax.random.key(0), batch["features"], batch["frames"])


def of(batch, variables, model=MODEL):
    loss = jax.jit(lambda params, batch: ctc(model)(params, {}, batch, jax.random.key(0), train=False)[0])
    return loss(variables["params"], batch)


def test_the_impossible_is_counted_and_weighs_nothing(variables):
    batch = features()
    whole, possible = of(batch, variables), of({name: x[:3] for name, x in batch.items()}, variables)
    assert whole["impossible"].compute() == 0.25
    assert float(whole["loss"].total) == pytest.approx(float(possible["loss"].total), rel=1e-5)
    assert float(whole["loss"].weight) == 6


def test_rows_of_padding_weigh_nothing(variables):
    batch = features()
    padded = {name: np.concatenate([x, np.zeros_like(x[:2])]) for name, x in batch.items()}
    for name, metric in of(padded, variables).items():
        np.testing.assert_allclose(metric, of(batch, variables)[name], rtol=1e-5)


def test_micro_batches_have_the_gradient_of_the_whole(variables):
    batch, state = features(), variables["params"]
    whole = steps.grad(ctc(MODEL))
    grads, metrics, _ = jax.jit(whole)(state, {}, batch, jax.random.key(0))
    parts, sums, _ = jax.jit(steps.accumulate(whole, 2))(state, {}, batch, jax.random.key(0))
    np.testing.assert_allclose(metrics["loss"].weight, sums["loss"].weight)
    for one, other in zip(jax.tree.leaves(grads), jax.tree.leaves(parts), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)
