"""Returns and lengths of the episodes of an agent."""

import jax
import jax.numpy as jnp

from jaxlm.metrics.mean import Mean, Metrics


def episode_metrics(score: jax.Array, length: jax.Array, ended: jax.Array) -> Metrics:
    """Return the mean return and length of episodes, as sums; each episode counts once.

    Args:
        score: undiscounted sum of the rewards of an episode, where it ends.
        length: its steps.
        ended: 1 or True where an episode ends, 0 on its other steps and on padding.
    """
    ended = ended.astype(jnp.float32)
    return {"return": Mean.from_values(score, ended), "length": Mean.from_values(length.astype(jnp.float32), ended)}
