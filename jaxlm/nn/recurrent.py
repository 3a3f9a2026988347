"""Long short-term memory over rows of ragged lengths.

B batch, T tokens, D width of the input, H width of the state, G = 4 H gates: input, forget, cell and output, in the
order of PyTorch.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxlm.nn.module import Module

BLOCK = 8  # steps of a matrix product, see `project`


class LSTMLayer(Module):
    """One direction over time (Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000).

    hidden: the width of the state.    reverse: whether time is read backwards.
    Forget gates start open (a bias of 1, Jozefowicz et al. 2015), and the recurrent kernel starts orthogonal.
    """

    hidden: int
    reverse: bool = False

    @nn.compact
    def __call__(self, x_BTD: jax.Array, segments_BT: jax.Array) -> jax.Array:
        """States h [B, T, H]; each run of equal segments (int32) starts from zeros, in the direction that is read."""
        gates = 4 * self.hidden
        kernel_DG = self.param("kernel", nn.initializers.glorot_uniform(), (x_BTD.shape[-1], gates))
        recurrent_HG = self.param("recurrent", nn.initializers.orthogonal(), (self.hidden, gates))
        bias_G = self.param("bias", _forget_bias, (gates,))
        gates_TBG = project(x_BTD.swapaxes(0, 1), kernel_DG, bias_G)
        return scan(gates_TBG, recurrent_HG, _starts(segments_BT, self.reverse).T, self.reverse).swapaxes(0, 1)


def project(x_TBD: jax.Array, kernel_DG: jax.Array, bias_G: jax.Array) -> jax.Array:
    """The input's share of the gates [T, B, G] ahead of the scan, in matrix products of `BLOCK` steps each.

    One product over all of time would give a token other bits in a longer row, since how a product is summed depends
    on its number of rows; blocks have one shape whatever T is, and take no more time.
    """
    length, batch, _ = x_TBD.shape
    blocks = jnp.pad(x_TBD, ((0, -length % BLOCK), (0, 0), (0, 0))).reshape(-1, BLOCK * batch, x_TBD.shape[-1])
    gates = jax.lax.map(lambda rows: rows @ kernel_DG + bias_G[None], blocks)
    return gates.reshape(-1, batch, gates.shape[-1])[:length]


def scan(gates_TBG: jax.Array, recurrent_HG: jax.Array, starts_TB: jax.Array, reverse: bool) -> jax.Array:
    """States h [T, B, H], step by step; where `starts_TB` (bool) holds, the state before the step is zero."""

    def step(
        carry: tuple[jax.Array, jax.Array], item: tuple[jax.Array, jax.Array]
    ) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
        gates_BG, starts_B = item
        h_BH, c_BH = (jnp.where(starts_B[:, None], 0, x_BH) for x_BH in carry)
        take_BH, keep_BH, new_BH, show_BH = jnp.split(gates_BG + h_BH @ recurrent_HG, 4, axis=-1)
        c_BH = jax.nn.sigmoid(keep_BH) * c_BH + jax.nn.sigmoid(take_BH) * jnp.tanh(new_BH)
        h_BH = jax.nn.sigmoid(show_BH) * jnp.tanh(c_BH)
        return (h_BH, c_BH), h_BH

    zeros_BH = jnp.zeros((gates_TBG.shape[1], recurrent_HG.shape[0]), gates_TBG.dtype)
    return jax.lax.scan(step, (zeros_BH, zeros_BH), (gates_TBG, starts_TB), reverse=reverse)[1]


def _starts(segments_BT: jax.Array, reverse: bool) -> jax.Array:
    """Where a run of equal segments begins, or backwards where it ends, bool [B, T]."""
    differs_BT = segments_BT[:, 1:] != segments_BT[:, :-1]
    sides = ((0, 0), (0, 1)) if reverse else ((0, 0), (1, 0))
    return jnp.pad(differs_BT, sides, constant_values=True)


def _forget_bias(key: jax.Array, shape: tuple[int, ...], dtype: jax.typing.DTypeLike = jnp.float32) -> jax.Array:
    del key
    hidden = shape[0] // 4
    return jnp.zeros(shape, dtype).at[hidden : 2 * hidden].set(1)
