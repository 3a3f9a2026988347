"""Learning-rate shapes: pure functions from the update count to a fraction of the peak."""

from collections.abc import Callable
from typing import Literal, get_args

import jax
import jax.numpy as jnp
import optax

Shape = Literal["constant", "linear", "cosine", "wsd", "rsqrt"]
SHAPES: tuple[str, ...] = get_args(Shape)


def fraction_of_peak(
    shape: Shape, steps: int, warmup: int, floor: float, cooldown: float
) -> Callable[[jax.typing.ArrayLike], jax.Array]:
    """The learning rate as a fraction of its peak, for a count of completed updates.

    `count` may be a number, a traced value or an array of counts; the answer is float32 of the same shape. The rate
    of update i -> i + 1 is the value at count i. Up to the end of the warm-up it is (count + 1) / (warmup + 1): exactly
    1 / (warmup + 1) at count 0, so that the first update is not wasted, and exactly 1 at count warmup. From there, with
    t = (count - warmup) / (steps - warmup), at most 1:

    | shape    | from count warmup on                                 | at count steps (one past the last update)   |
    |----------|------------------------------------------------------|---------------------------------------------|
    | constant | 1                                                    | 1 (floor is not used)                       |
    | linear   | 1 + (floor - 1) t                                    | floor                                       |
    | cosine   | floor + (1 - floor) (1 + cos(pi t)) / 2              | floor                                       |
    | wsd      | 1, then linear to floor over the last cooldown steps | floor                                       |
    | rsqrt    | max(floor, sqrt(w / max(count, w)))                  | max(floor, sqrt(w / steps)), w: warmup or 1 |

    The last cooldown steps of wsd are round(cooldown * steps). With warmup == steps only the warm-up is seen.
    Sources: cosine, Loshchilov and Hutter 2017 (arXiv:1608.03983, eq. 5); wsd, Hu et al. 2024 (arXiv:2404.06395,
    section 4.2); rsqrt, Vaswani et al. 2017 (arXiv:1706.03762, eq. 3).
    """
    after = _after_warmup(shape, steps, warmup, floor, cooldown)
    if warmup > 0:
        rising = optax.linear_schedule(1 / (warmup + 1), 1.0, warmup)
        after = optax.join_schedules([rising, after], [warmup])

    def at(count: jax.typing.ArrayLike) -> jax.Array:
        return jnp.broadcast_to(jnp.asarray(after(jnp.asarray(count)), jnp.float32), jnp.shape(count))

    return at


def cooldown_steps(cooldown: float, steps: int) -> int:
    """How many of the last updates a wsd schedule spends on its way down."""
    return round(cooldown * steps)


def _after_warmup(shape: Shape, steps: int, warmup: int, floor: float, cooldown: float) -> optax.Schedule:
    """What follows the warm-up, as a function of the updates since its end."""
    left = max(steps - warmup, 1)
    falling = max(cooldown_steps(cooldown, steps), 1)
    match shape:
        case "constant":
            return optax.constant_schedule(1.0)
        case "linear":
            return optax.linear_schedule(1.0, floor, left)
        case "cosine":
            return optax.cosine_decay_schedule(1.0, left, alpha=floor)
        case "wsd":
            stable, down = optax.constant_schedule(1.0), optax.linear_schedule(1.0, floor, falling)
            return optax.join_schedules([stable, down], [left - falling])
        case "rsqrt":
            scale = max(warmup, 1)
            return lambda since: jnp.maximum(floor, jnp.sqrt(scale / jnp.maximum(since + warmup, scale)))
