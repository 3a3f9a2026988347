"""How much better actions were than expected: generalised advantage estimation.

T steps, B environments.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def generalised_advantages(
    reward_TB: jax.Array,
    value_TB: jax.Array,
    next_value_TB: jax.Array,
    terminated_TB: jax.Array,
    done_TB: jax.Array,
    discount: float,
    trace: float,
) -> jax.Array:
    """Estimate advantages from steps of environments and a value function (GAE).

        delta_t = r_t + discount * (1 - terminated_t) V(next_t) - V(s_t)
        A_t     = delta_t + discount * trace * (1 - done_t) A_{t+1}

    Schulman et al. 2016, arXiv:1506.02438, equations 11 and 16. Where a time limit cuts an episode the value of what
    would have followed counts, and where the task has ended it does not (Pardo et al. 2018, arXiv:1712.00378). With a
    trace of 1, A_t + V(s_t) is the discounted return up to the end of the episode or of the steps: the n-step returns
    of A3C (Mnih et al. 2016, arXiv:1602.01783, algorithm S3).

    Args:
        reward_TB: float32.
        value_TB: values of what was seen before each action.
        next_value_TB: values of what was seen after it, and before any reset.
        terminated_TB: bool, the task has ended.
        done_TB: bool, the episode has ended: terminated, or cut by a time limit.
        discount: of later rewards, gamma.
        trace: lambda; 0 trusts the values, 1 the rewards.

    Returns:
        float32 [T, B]
    """
    delta_TB = reward_TB + discount * jnp.where(terminated_TB, 0, next_value_TB) - value_TB

    def back(later_B: jax.Array, now: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        delta_B, done_B = now
        advantage_B = delta_B + discount * trace * jnp.where(done_B, 0, later_B)
        return advantage_B, advantage_B

    return jax.lax.scan(back, jnp.zeros_like(delta_TB[0]), (delta_TB, done_TB), reverse=True)[1]


def whiten(x: jax.Array, total: Callable[[Any], Any]) -> jax.Array:
    """Return x with mean 0 and standard deviation 1 over a batch that may be divided over devices.

    Args:
        x: float32.
        total: adds over devices, such as `place.sum`.
    """
    count, summed = total((jnp.float32(x.size), x.sum()))
    centred = x - summed / count
    variance = total(jnp.square(centred).sum()) / count
    return centred / (jnp.sqrt(variance) + 1e-8)
