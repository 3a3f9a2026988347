"""The loop: what the hooks see, how far it runs ahead, what a record holds."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlm.errors import BadInput
from jaxlm.steps import Mean, compute
from jaxlm.train.evaluate import measure
from jaxlm.train.loop import compile_by_shape, every, fit
from jaxlm.train.meter import Meter


def count(state, batch):
    return state + 1, {"loss": Mean(jnp.float32(batch), jnp.float32(2))}


def run(stop=10, start=0, interval=4, hooks=(), step=count, stride=1):
    records = []
    meter = Meter(
        lambda at, sums, times: records.append((at, compute(sums, "train/") | times)), interval, start, (8, "tokens")
    )
    batches = iter(range(start, stop)) if stride == 1 else iter(zip(*[iter(range(start, stop))] * stride, strict=True))
    result = fit(step, start, batches, meter, start=start, stop=stop, stride=stride, hooks=hooks)
    return *result, records


def test_records_hold_the_mean_since_the_last_and_the_rest_at_the_end():
    state, completed, reason, records = run()
    assert (state, completed, reason) == (10, 10, None)
    assert [at for at, _ in records] == [4, 8, 10]
    assert [m["train/loss"] for _, m in records] == [np.mean(r) / 2 for r in (range(4), range(4, 8), (8, 9))]
    assert all(m["time/tokens_per_second"] > 0 and 0 <= m["time/data_wait"] <= 1 for _, m in records)


def test_hooks_see_the_updates_completed():
    seen = []
    run(stop=6, hooks=[every(2, lambda state, at: seen.append((int(state), at)))])
    assert seen == [(2, 2), (4, 4), (6, 6)]
    assert every(0, lambda state, at: "never")(None, 3) is None


def test_a_hook_that_returns_a_reason_ends_the_loop_after_all_hooks():
    seen = []
    hooks = [lambda state, at: "enough" if at == 3 else None, lambda state, at: seen.append(at)]
    state, completed, reason, _ = run(hooks=hooks)
    assert (state, completed, reason, seen) == (3, 3, "enough", [1, 2, 3])


def test_a_call_of_several_updates_counts_them_all():
    def several(state, batches):
        return state + len(batches), {"loss": Mean(jnp.float32(sum(batches)), jnp.float32(len(batches)))}

    state, completed, _, records = run(stop=12, stride=3, interval=6, step=several)
    assert (state, completed) == (12, 12)
    assert [(at, m["train/loss"]) for at, m in records] == [(6, 2.5), (12, 8.5)]


def test_at_most_two_calls_are_unfinished():
    unfinished, worst = set(), []

    class Watched(np.ndarray):
        def block_until_ready(self):
            unfinished.discard(int(self))
            return self

    def step(state, batch):
        unfinished.add(batch)
        return state, {"loss": Mean(np.asarray(batch, np.float32).view(Watched), np.float32(1))}

    run(step=step, hooks=[lambda state, at: worst.append(len(unfinished)) and None])
    assert max(worst) == 2
    assert not unfinished


def test_nothing_is_fetched_between_two_records(monkeypatch):
    fetched = []
    monkeypatch.setattr(jax, "device_get", lambda tree: fetched.append(tree) or tree)
    _, _, _, records = run(stop=12, interval=6)
    assert len(fetched) == len(records) == 2


def test_a_halted_step_ends_the_run_with_an_error():
    def step(state, batch):
        halted = jnp.float32(batch >= 5)
        return state, {"loss": Mean(jnp.float32(1), jnp.float32(1)), "halted": Mean(halted, jnp.float32(1))}

    with pytest.raises(BadInput, match="too many updates in a row were not finite, up to update 6"):
        run(step=step, interval=0)


def test_measuring_sums_over_all_batches():
    evaluate = jax.jit(lambda state, batch: {"loss": Mean(batch.sum(), jnp.float32(batch.size))})
    data = [np.arange(n, dtype=np.float32) for n in (1, 4, 4, 7)]
    total = measure(evaluate, None, iter(data))["loss"].compute()
    assert total == pytest.approx(np.mean(list(itertools.chain(*data))), rel=1e-7)


def test_a_program_is_compiled_once_for_each_shape():
    compiled = []

    def compile_for(state, batch):
        compiled.append(batch["x"].shape)
        return lambda state, batch: state + batch["x"].sum()

    step = compile_by_shape(compile_for)
    for width in (2, 3, 2, 3, 4):
        assert step(1.0, {"x": np.ones((1, width))}) == 1 + width
    assert compiled == [(1, 2), (1, 3), (1, 4)]
