"""Under pmap a state that differs between devices is an error, and not silently the first device's."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlm import parallel, steps
from jaxlm.errors import BadInput
from step_helpers import PLACES, everywhere, loss, make_batch, start

TX = optax.adam(0.1)


def stepped(place, step):
    state = place.init(
        lambda _: start(TX, variables={"half": jnp.zeros(3, jnp.bfloat16), "count": jnp.int32(1)}), jax.random.key(0)
    )
    return place.compile(step)(state, place.put(make_batch(0, np.ones(8))))[0]


@everywhere
def test_a_step_whose_gradient_is_added_over_devices_leaves_them_equal(name):
    place = PLACES[name]
    place.check_replicas(stepped(place, steps.update(place.reduce(steps.grad(loss)), TX)))


def test_a_step_that_forgets_to_add_is_refused_with_the_leaf_that_differs():
    place = parallel.pmap()
    with pytest.raises(BadInput, match=r"^params/hidden of the state differs between devices[^\n]*place.sum[^\n]*$"):
        place.check_replicas(stepped(place, steps.update(steps.grad(loss), TX)))


@pytest.mark.parametrize("name", ["half", "count"])
def test_a_single_number_of_any_dtype_that_differs_is_seen(name):
    place = parallel.pmap()
    whole = steps.update(place.reduce(steps.grad(loss)), TX)

    def marked(state, batch):
        state, metrics = whole(state, batch)
        x = state.variables[name]
        changed = x + (jax.lax.axis_index(place.axis_name) == 1).astype(x.dtype) * jnp.asarray(1, x.dtype)
        return state.replace(variables=state.variables | {name: changed}), metrics

    with pytest.raises(BadInput, match=f"^variables/{name} of the state differs"):
        place.check_replicas(stepped(place, marked))
