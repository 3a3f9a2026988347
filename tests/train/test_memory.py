"""What the compiled training step of GPT-2 124M holds in memory, as XLA plans it; nothing is executed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlm import parallel, steps
from jaxlm.losses import next_token
from jaxlm.models.gpt_shapes import GPT2_SMALL
from jaxlm.optim import AdamW
from jaxlm.steps import transforms

MB = 1e6


def size(tree) -> int:
    """Bytes of a tree of shapes, with 8 for a PRNG key."""
    leaves = jax.tree.leaves(tree)
    return sum(8 if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key) else x.size * x.dtype.itemsize for x in leaves)


@pytest.mark.slow
def test_the_state_of_the_124m_model_is_updated_in_place():
    model, tx, place = GPT2_SMALL, AdamW(warmup=100)(2000), parallel.local()
    step = transforms.skip_nonfinite(steps.update(steps.grad(next_token(model)), tx))
    state = jax.eval_shape(lambda key: steps.init(model, tx, np.zeros((1, 8), np.int32), key), jax.random.key(0))
    batch = {name: jax.ShapeDtypeStruct((1, 8), jnp.int32) for name in ("tokens", "targets")}

    analysis = place.compile(step).lower(state, batch).compile().memory_analysis()

    held, gradients = size(state), size(state.params)
    assert held == pytest.approx(3 * gradients, rel=1e-3)  # parameters and the two moments of AdamW
    # All of the state comes out in the memory it went in by, and beside it there are metrics only.
    assert analysis.alias_size_in_bytes == pytest.approx(held, abs=1000)
    assert analysis.argument_size_in_bytes == pytest.approx(held, abs=1000)
    assert analysis.output_size_in_bytes - analysis.alias_size_in_bytes < 0.1 * MB
    # The gradients lie beside the state until their norm is known. The activations of 8 tokens are small: the logits
    # are 8 * 50257 floats, 1.6 MB. The CPU's compiler fuses each of the three outputs of AdamW (parameter and moments)
    # by itself, and for that copies moments of some layers: 1.4 times the gradients more, measured on jax 0.10.
    temporary = analysis.temp_size_in_bytes
    assert gradients <= temporary <= 2.5 * gradients
    assert held + temporary <= 1.4 * (held + gradients)  # twice would be the state and the gradients kept twice
