"""How states and batches lie on the devices, and that a step writes into the memory that it reads."""

import jax
import numpy as np
import pytest
from parallel_helpers import OPTIMIZERS, PLACES, begin, bits, compose, each, text

from jaxlm import parallel
from jaxlm.errors import BadInput
from jaxlm.parallel import PlacementSpec
from jaxlm.steps import transforms

everywhere = pytest.mark.parametrize("name", each(PLACES))


def per_device(tree):
    """The bytes that a tree takes on the first device."""
    return sum(bits(x.addressable_shards[0].data).nbytes for x in jax.tree.leaves(tree))


def on_host(tree):
    return sum(bits(x).nbytes for x in jax.tree.leaves(tree))


@pytest.mark.parametrize(("name", "parts"), [pytest.param("mesh(1, 4)", 4, marks=pytest.mark.slow), ("mesh(2, 2)", 2)])
def test_fsdp_cuts_parameters_and_the_state_of_the_optimizer(name, parts):
    place, tx = PLACES[name], OPTIMIZERS["adamw"]
    state = place.init(begin(tx, ema=True), jax.random.key(0))
    for tree in (state.params, state.opt_state, state.ema):
        assert per_device(tree) <= on_host(tree) / parts + 64  # counts and hyperparameters are on every device
        for x in jax.tree.leaves(tree):
            cut = parts if x.size > parts else 1
            assert x.addressable_shards[0].data.size == x.size // cut
    state, metrics = place.compile(compose(place, tx))(state, place.put(text(0)))
    jax.block_until_ready(metrics)
    assert per_device(state.opt_state) <= on_host(state.opt_state) / parts + 64  # and a step keeps it so


@pytest.mark.parametrize("name", ["local", "pmap", "mesh(4, 1)"])
def test_without_fsdp_every_device_holds_the_whole_state(name):
    state = PLACES[name].init(begin(OPTIMIZERS["adamw"]), jax.random.key(0))
    assert per_device(state) == on_host(state)
    assert len(state.step.addressable_shards) == PLACES[name].devices


@pytest.mark.parametrize(
    ("shape", "spec"),
    [
        ((8, 12), (None, "fsdp")),
        ((12, 8), ("fsdp", None)),
        ((8, 10), ("fsdp", None)),
        ((7, 9), (None, None)),
        ((), ()),
        ((4,), (None,)),
        ((8,), ("fsdp",)),
        ((2, 3, 16), (None, None, "fsdp")),
    ],
)
def test_the_longest_axis_that_divides_is_cut(shape, spec):
    assert tuple(PLACES["mesh(1, 4)"].sharding(shape).spec) == spec
    assert not any(PLACES["mesh(4, 1)"].sharding(shape).spec)


@everywhere
def test_a_step_keeps_the_layout_that_init_and_layout_tell(name):
    place, fn = PLACES[name], begin(OPTIMIZERS["sgd"])
    state = place.init(fn, jax.random.key(0))
    after, _ = place.compile(compose(place, OPTIMIZERS["sgd"]), donate=False)(state, place.put(text(0)))
    layout = place.layout(jax.eval_shape(fn, jax.random.key(0)))
    for x, y, told in zip(*map(jax.tree.leaves, (state, after, layout)), strict=True):
        assert (x.shape, x.dtype) == (y.shape, y.dtype) == (told.shape, told.dtype)
        assert x.sharding.is_equivalent_to(told.sharding, x.ndim)
        assert y.sharding.is_equivalent_to(told.sharding, y.ndim)


@everywhere
def test_a_batch_is_dealt_out_evenly(name):
    place, batch = PLACES[name], text(0)
    dealt = place.put(batch)
    for x, whole in zip(jax.tree.leaves(dealt), jax.tree.leaves(batch), strict=True):
        part = x.addressable_shards[0].data if isinstance(x, jax.Array) else x  # on one CPU: left on the host
        assert part.size == whole.size // place.devices
        assert np.asarray(x).reshape(whole.shape).tolist() == whole.tolist()


@everywhere
def test_the_old_state_is_gone_and_its_memory_used_for_the_new_one(name):
    place, tx = PLACES[name], OPTIMIZERS["adamw"]
    state = place.init(begin(tx, ema=True), jax.random.key(0))
    batch = place.put(text(0))
    step = place.compile(transforms.ema(compose(place, tx), 0.9)).lower(state, batch).compile()
    assert step.memory_analysis().alias_size_in_bytes >= 0.99 * per_device(state)
    _, metrics = step(state, batch)
    jax.block_until_ready(metrics)
    # Numbers that the step never reads (the latest learning rate) are no argument of the program, so they stay.
    assert all(x.is_deleted() for x in jax.tree.leaves((state.params, state.opt_state, state.ema)) if x.ndim)


@everywhere
def test_without_donation_the_old_state_stays(name):
    place, tx = PLACES[name], OPTIMIZERS["sgd"]
    state = place.init(begin(tx), jax.random.key(0))
    _, metrics = place.compile(compose(place, tx), donate=False)(state, place.put(text(0)))
    jax.block_until_ready(metrics)
    assert np.isfinite(np.asarray(state.params["embed"]["embedding"])).all()


@pytest.mark.parametrize("name", ["pmap", "mesh(4, 1)", "mesh(2, 2)"])
def test_a_batch_that_does_not_divide_over_the_devices_is_refused_in_one_line(name):
    with pytest.raises(BadInput, match=r"^a batch of 6 does not divide over 4 devices: [^\n]*$"):
        PLACES[name].put(text(0, rows=6))


def test_one_device_takes_any_batch():
    assert PLACES["local"].put(text(0, rows=5))["tokens"].shape == (5, 8)


@pytest.mark.parametrize(("data", "fsdp"), [(8, 1), (1, 8), (-1, 3), (3, 2), (0, 1), (-1, 0), (2, 0), (1, -1), (-2, 1)])
def test_a_mesh_that_does_not_fit_is_refused_in_one_line(data, fsdp):
    with pytest.raises(BadInput, match=rf"^a mesh of data={data}, fsdp={fsdp} does not fit on 4 devices[^\n]*$"):
        _ = parallel.mesh(data, fsdp).devices


def test_a_mesh_may_leave_devices_idle():
    assert parallel.mesh(2).devices == 2
    assert parallel.mesh(fsdp=2).devices == 4


@pytest.mark.parametrize("kind", ["local", "pmap"])
@pytest.mark.parametrize("axes", [{"fsdp": 2}, {"data": 2}])
def test_axes_without_a_mesh_are_refused_in_one_line(kind, axes):
    with pytest.raises(BadInput, match=rf"^place.kind {kind} [^\n]*mesh$"):
        PlacementSpec(kind=kind, **axes).build()


def test_a_config_names_its_placement():
    assert PlacementSpec().build() == parallel.local()
    assert PlacementSpec("pmap").build() == parallel.pmap()
    assert PlacementSpec("mesh", fsdp=2).build() == parallel.mesh(fsdp=2)
