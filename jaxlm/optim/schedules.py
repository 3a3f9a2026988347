"""Learning-rate schedules: pure functions from the update count to a fraction of the peak."""

from collections.abc import Callable
from typing import Literal, get_args

import jax
import jax.numpy as jnp
import optax

ScheduleName = Literal["constant", "linear", "cosine", "wsd", "rsqrt"]
SCHEDULES: tuple[str, ...] = get_args(ScheduleName)


def fraction_of_peak(
    schedule: ScheduleName, steps: int, warmup: int, final_fraction: float, cooldown: float
) -> Callable[[jax.typing.ArrayLike], jax.Array]:
    """Return the learning rate as a fraction of its peak, as a function of the number of completed updates.

    The count may be a number, a traced value or an array of counts; the result is float32 of the same shape. The rate
    of update i -> i + 1 is the value at count i. During warm-up it is (count + 1) / (warmup + 1): exactly 1 / (warmup +
    1) at count 0, so that the first update is not wasted, and exactly 1 at count warmup. After it, with f =
    final_fraction and t = (count - warmup) / (steps - warmup), at most 1:

    | schedule | from count warmup on                             | at count steps (one past the last update) |
    |----------|--------------------------------------------------|-------------------------------------------|
    | constant | 1                                                | 1 (f is not used)                         |
    | linear   | 1 + (f - 1) t                                    | f                                         |
    | cosine   | f + (1 - f) (1 + cos(pi t)) / 2                  | f                                         |
    | wsd      | 1, then linear to f over the last cooldown steps | f                                         |
    | rsqrt    | max(f, sqrt(w / max(count, w)))                  | max(f, sqrt(w / steps)), w: warmup or 1   |

    The last cooldown steps of wsd are round(cooldown * steps). With warmup == steps only the warm-up is seen.
    Sources: cosine, Loshchilov and Hutter 2017 (arXiv:1608.03983, eq. 5); wsd, Hu et al. 2024 (arXiv:2404.06395,
    section 4.2); rsqrt, Vaswani et al. 2017 (arXiv:1706.03762, eq. 3).

    Args:
        schedule: the name of the schedule.
        steps: updates of the whole run.
        warmup: updates of the linear warm-up.
        final_fraction: the last learning rate, as a fraction of the peak.
        cooldown: length of wsd's last phase, as a fraction of the steps.
    """
    after = _after_warmup(schedule, steps, warmup, final_fraction, cooldown)
    if warmup > 0:
        rising = optax.linear_schedule(1 / (warmup + 1), 1.0, warmup)
        after = optax.join_schedules([rising, after], [warmup])

    def at(count: jax.typing.ArrayLike) -> jax.Array:
        return jnp.broadcast_to(jnp.asarray(after(jnp.asarray(count)), jnp.float32), jnp.shape(count))

    return at


def cooldown_steps(cooldown: float, steps: int) -> int:
    """Return the number of updates in the last phase of a wsd schedule."""
    return round(cooldown * steps)


def _after_warmup(
    schedule: ScheduleName, steps: int, warmup: int, final_fraction: float, cooldown: float
) -> optax.Schedule:
    """Return the schedule after the warm-up, as a function of the updates since its end."""
    left = max(steps - warmup, 1)
    falling = max(cooldown_steps(cooldown, steps), 1)
    match schedule:
        case "constant":
            return optax.constant_schedule(1.0)
        case "linear":
            return optax.linear_schedule(1.0, final_fraction, left)
        case "cosine":
            return optax.cosine_decay_schedule(1.0, left, alpha=final_fraction)
        case "wsd":
            stable, down = optax.constant_schedule(1.0), optax.linear_schedule(1.0, final_fraction, falling)
            return optax.join_schedules([stable, down], [left - falling])
        case "rsqrt":
            scale = max(warmup, 1)
            return lambda since: jnp.maximum(final_fraction, jnp.sqrt(scale / jnp.maximum(since + warmup, scale)))
