"""Several states as one: guarded, repeated, saved and restored like any other."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlm import steps
from jaxlm.runs.checkpoint import Checkpoints
from jaxlm.steps import Joint, Mean, transforms
from jaxlm.train.init_from import with_keys_of
from step_helpers import PLACES, assert_close, assert_same_bits, everywhere, loss, make_batch, parameters

RULES = (("parts/worlds", ("examples",)),)
LIMIT = 2
TX = optax.adam(1e-2)


def init(key):
    first, second, third = jax.random.split(key, 3)
    nets = {
        name: steps.new_state(parameters(n), TX, k) for n, (name, k) in enumerate({"a": first, "b": second}.items())
    }
    return steps.joint(third, worlds=jax.random.normal(first, (8,)), **nets)


def compose(place):
    """Two nets, the second of which follows the first; and worlds, one an example, that move by the examples."""
    learn = steps.update(place.reduce(steps.grad(loss)), TX)

    def step(state, batch):
        a, of_a = learn(state.parts["a"], batch)
        target = jnp.tanh(batch["x"] @ a.params["hidden"]) @ a.params["out"]
        b, of_b = learn(state.parts["b"], batch | {"y": target})
        parts = {"a": a, "b": b, "worlds": state.parts["worlds"] + batch["y"]}
        return state.replace(step=state.step + 1, parts=parts), of_a | {"follows": of_b["loss"]}

    return transforms.skip_nonfinite(step, LIMIT)


def batches(*poisoned):
    """Five batches, some of them with a number that is not finite."""
    found = [make_batch(seed, np.ones(8)) for seed in range(5)]
    for number in poisoned:
        found[number]["x"][3, 1] = np.nan
    return found


def run(name, data):
    """The state before the first batch and after each, and the metrics of each."""
    place = PLACES[name].with_rules(RULES)
    states, step, found = [place.init(init, jax.random.key(0))], place.compile(compose(place), donate=False), []
    for batch in data:
        state, metrics = step(states[-1], place.put(batch))
        states.append(state)
        found.append(place.fetch(metrics))
    return [place.fetch(state) for state in states], found


def test_it_begins_with_nothing_counted():
    state = steps.joint(jax.random.key(3), a=jnp.ones(2), b={"c": 1})
    assert isinstance(state, Joint)
    assert (int(state.step), int(state.skipped), list(state.parts)) == (0, 0, ["a", "b"])
    assert state.step.dtype == state.skipped.dtype == jnp.int32
    assert_same_bits(state.key, jax.random.key(3))


@everywhere
def test_the_parts_train_as_they_do_alone(name):
    states, _ = run(name, batches())
    expected, _ = run("local", batches())
    assert_close(states[-1].parts, expected[-1].parts, 1e-4)
    alone, learn = steps.new_state(parameters(0), TX, jax.random.key(0)), jax.jit(steps.update(steps.grad(loss), TX))
    for batch in batches():
        alone, _ = learn(alone, batch)
    assert_close(states[-1].parts["a"].params, alone.params, 1e-4)


@everywhere
def test_a_step_that_is_not_finite_in_one_part_leaves_all_as_they_were(name):
    states, metrics = run(name, batches(1))
    assert [found["skipped"].compute() for found in metrics] == [0, 1, 0, 0, 0]
    assert [(int(state.step), int(state.skipped)) for state in states[1:]] == [(1, 0), (2, 1), (3, 0), (4, 0), (5, 0)]
    assert_same_bits(states[2].parts, states[1].parts)
    assert metrics[1]["follows"] == Mean(0.0, 0.0)
    without = [batch for number, batch in enumerate(batches()) if number != 1]
    assert_same_bits(states[-1].parts, run(name, without)[0][-1].parts)


def test_as_many_in_a_row_as_the_limit_halt_all_of_it():
    states, metrics = run("local", batches(1, 2))
    assert [found["halted"].compute() for found in metrics] == [0, 0, 1, 1, 1]
    assert_same_bits(states[-1].parts, states[1].parts)


def test_steps_in_one_program_are_single_steps():
    data = batches(1)[:4]
    repeated = jax.jit(transforms.repeat(compose(PLACES["local"]), 2))
    state = init(jax.random.key(0))
    for pair in (data[:2], data[2:]):
        state, _ = repeated(state, tuple(pair))
    single = run("local", data)[0][-1]
    assert int(state.step) == 4
    assert_close(state.parts, single.parts)


@everywhere
def test_a_checkpoint_goes_on_to_the_same_bits(name, tmp_path):
    place = PLACES[name].with_rules(RULES)
    step, data = place.compile(compose(place), donate=False), batches(1)
    checkpoints = Checkpoints(tmp_path)
    state = place.init(init, jax.random.key(0))
    for number, batch in enumerate(data):
        if number == 2:
            checkpoints.save(2, state)
        state, _ = step(state, place.put(batch))
    checkpoints.wait()
    restored = checkpoints.restore(2, place.layout(jax.eval_shape(init, jax.random.key(0))))
    assert restored.parts["worlds"].addressable_shards[0].data.size == 8 // place.devices
    for batch in data[2:]:
        restored, _ = step(restored, place.put(batch))
    assert_same_bits(restored, state)
    checkpoints.close()


@pytest.mark.parametrize("name", ["local", "pmap", "mesh(2, 2)"])
def test_another_seed_of_the_noise_changes_the_keys_of_all_parts_and_nothing_else(name):
    place = PLACES[name].with_rules(RULES)
    state = place.init(init, jax.random.key(0))
    mixed, other = with_keys_of(state, init, place, 7), place.init(init, jax.random.key(7))

    def keys(state):
        return [state.key, state.parts["a"].key, state.parts["b"].key]

    assert_same_bits(keys(mixed), keys(other))
    back = mixed.replace(
        key=state.key,
        parts=mixed.parts | {name: mixed.parts[name].replace(key=state.parts[name].key) for name in ("a", "b")},
    )
    assert_same_bits(back, state)
