"""Long short-term memory (LSTM) over rows of different lengths.

B batch, T tokens, D width of the input, H width of the state, G = 4 H gates: input, forget, cell and output, in the
order of PyTorch.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxlm.nn.linear import broadcast, wide
from jaxlm.nn.module import Module

STEPS_PER_PRODUCT = 8  # see `project`


class LSTMLayer(Module):
    """One LSTM layer in one direction (Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000).

    Forget gates start open (a bias of 1, Jozefowicz et al. 2015), and the recurrent kernel starts orthogonal.

    Attributes:
        hidden: width of the state.
        reverse: run from the last token to the first.
    """

    hidden: int
    reverse: bool = False

    @nn.compact
    def __call__(self, x_BTD: jax.Array, segments_BT: jax.Array) -> jax.Array:
        """Return the states h [B, T, H]; each run of equal segment numbers (int32) starts from a zero state."""
        gates = 4 * self.hidden
        kernel_DG = self.param("kernel", nn.initializers.glorot_uniform(), (x_BTD.shape[-1], gates), jnp.float32)
        recurrent_HG = self.param("recurrent", nn.initializers.orthogonal(), (self.hidden, gates), jnp.float32)
        bias_G = self.param("bias", forget_bias, (gates,), jnp.float32)
        gates_TBG = project(x_BTD.swapaxes(0, 1), kernel_DG, bias_G)
        return scan(gates_TBG, recurrent_HG, _starts(segments_BT, self.reverse).T, self.reverse).swapaxes(0, 1)


def project(x_TBD: jax.Array, kernel_DG: jax.Array, bias_G: jax.Array) -> jax.Array:
    """Compute the input's part of the gates, [T, B, G], before the scan, in matrix products of a fixed number of steps.

    One product over the whole sequence would give a token other bits in a longer row, since the order of summation
    depends on the number of rows. Blocks of `STEPS_PER_PRODUCT` steps have one shape for every T, and take no more
    time.
    """
    length, batch, _ = x_TBD.shape
    blocks = jnp.pad(x_TBD, ((0, -length % STEPS_PER_PRODUCT), (0, 0), (0, 0))).reshape(
        -1, STEPS_PER_PRODUCT * batch, x_TBD.shape[-1]
    )
    dtype = jnp.result_type(x_TBD, kernel_DG, bias_G)
    kernel_DG, bias_G = wide(kernel_DG), wide(bias_G)  # loops add the gradients of their constants in these dtypes

    def affine(rows_ND: jax.Array) -> jax.Array:
        gates_NG = rows_ND.astype(dtype) @ kernel_DG.astype(dtype)
        return gates_NG + broadcast(bias_G.astype(dtype), gates_NG.shape)

    gates = jax.lax.map(affine, blocks)
    return gates.reshape(-1, batch, gates.shape[-1])[:length]


def scan(gates_TBG: jax.Array, recurrent_HG: jax.Array, starts_TB: jax.Array, reverse: bool) -> jax.Array:
    """Run the recurrence over the gates and return the states h [T, B, H].

    The state is reset to zero before the steps where `starts_TB` (bool) is True.
    """
    dtype = gates_TBG.dtype
    recurrent_HG = wide(recurrent_HG)  # as in `project`

    def step(
        carry: tuple[jax.Array, jax.Array], item: tuple[jax.Array, jax.Array]
    ) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
        gates_BG, starts_B = item
        h_BH, c_BH = (jnp.where(starts_B[:, None], 0, x_BH) for x_BH in carry)
        h_BH, c_BH = cell(gates_BG + h_BH @ recurrent_HG.astype(dtype), c_BH)
        return (h_BH, c_BH), h_BH

    zeros_BH = jnp.zeros((gates_TBG.shape[1], recurrent_HG.shape[0]), dtype)
    return jax.lax.scan(step, (zeros_BH, zeros_BH), (gates_TBG, starts_TB), reverse=reverse)[1]


def cell(gates_BG: jax.Array, c_BH: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return the new state h and the new cell c, [B, H] each, of all gates and the cell before."""
    take_BH, keep_BH, new_BH, show_BH = jnp.split(gates_BG, 4, axis=-1)
    c_BH = jax.nn.sigmoid(keep_BH) * c_BH + jax.nn.sigmoid(take_BH) * jnp.tanh(new_BH)
    return jax.nn.sigmoid(show_BH) * jnp.tanh(c_BH), c_BH


def forget_bias(key: jax.Array, shape: tuple[int, ...], dtype: jax.typing.DTypeLike = jnp.float32) -> jax.Array:
    """Initialise the bias of the gates: 1 for the forget gates, else 0; `key` is not needed."""
    del key
    hidden = shape[0] // 4
    return jnp.zeros(shape, dtype).at[hidden : 2 * hidden].set(1)


def _starts(segments_BT: jax.Array, reverse: bool) -> jax.Array:
    """Return where a run of equal segments begins, or ends where `reverse`, bool [B, T]."""
    differs_BT = segments_BT[:, 1:] != segments_BT[:, :-1]
    sides = ((0, 0), (0, 1)) if reverse else ((0, 0), (1, 0))
    return jnp.pad(differs_BT, sides, constant_values=True)
