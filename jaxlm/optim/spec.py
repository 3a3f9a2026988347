"""The part that every optimizer shares: schedule, clipping, penalties, groups, and hyperparameters as state."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxlm.optim.groups import (
    TRANSFORMER_GROUPS,
    Group,
    Params,
    fill,
    map_with_group,
    match_groups,
    require,
    require_pattern,
    without,
)
from jaxlm.optim.schedules import SHAPES, Shape, cooldown_steps, fraction_of_peak

OptState = Any


@dataclass(frozen=True, kw_only=True)
class Spec:
    """An optimizer as a config value: `spec(steps)` is the optax transformation for a run of that many updates.

    One update of parameters p with gradient g, m and r being the decay and rate multipliers of p's group:

        g <- g * min(1, clip / |g|)                  |g| over all parameters; clip of 0 or None is off
        g <- g + m (l1 sign(p) + l2 p)               coupled: it passes through the moments
        p <- p - r rate (direction(g) + m decay p)   decoupled (Loshchilov and Hutter, arXiv:1711.05101, times the rate)
        rate = peak * fraction_of_peak(count)

    **Hyperparameters are state.** They live in `opt_state.hyperparams` (`optax.inject_hyperparams`), always, as
    float32: an injected value is not bit-equal to a compiled constant, so a run alone must do what a packed run does.
    `peak` and `decay` are what may be changed there (see `set_hyperparameters`) and may differ by run under `vmap`.
    `learning_rate` is for reading: the rate of the latest update (before the first: of the coming one). It is computed
    anew as peak * fraction at each update, because a schedule with the peak baked in could not be scaled by run.
    Which schedule, penalties, clipping and groups is structure: chosen while composing, the same for all packed runs.

    `warmup` counts updates; `floor` is the end of the schedule and `cooldown` the length of wsd's last phase, both
    fractions (of the peak, of the steps). `fraction_of_peak` has the exact curve of each `shape`.
    """

    peak: float = 1e-3  # the highest learning rate
    warmup: int = 0  # updates of linear rise to the peak
    shape: Shape = "cosine"  # the learning rate after the warm-up
    floor: float = 0.1  # the last learning rate, as a fraction of the peak
    cooldown: float = 0.2  # the last phase of wsd, as a fraction of the steps
    decay: float = 0.0  # decoupled weight decay, times the learning rate
    l1: float = 0.0  # added to the gradient: l1 sign(p)
    l2: float = 0.0  # added to the gradient: l2 p
    clip: float | None = None  # the largest global norm of the gradient; 0 or None is off
    groups: tuple[Group, ...] = TRANSFORMER_GROUPS
    freeze: str = ""  # a regular expression for the paths of parameters that stay as they are and need no state

    def direction(self) -> optax.GradientTransformation:
        """What is special about the optimizer: from gradients to the direction to descend, without a rate."""
        raise NotImplementedError

    def __call__(self, steps: int) -> optax.GradientTransformationExtraArgs:
        """The transformation for a run of `steps` updates.

        Raises BadInput where the fields make no sense; its `init`, where a parameter is not in exactly one group.
        """
        fraction = self._fraction(steps)

        def build(peak: jax.Array, learning_rate: jax.Array, decay: jax.Array) -> optax.GradientTransformationExtraArgs:
            del peak  # in the state for `update` below
            stages = (*self._before(), self.direction(), _descend(learning_rate, decay, self.groups))
            return optax.chain(*stages)

        injected = optax.inject_hyperparams(build, hyperparam_dtype=jnp.float32)
        inner = injected(peak=self.peak, learning_rate=self.peak, decay=self.decay)

        def trained(tree: Params) -> Params:
            return without(tree, self.frozen) if self.freeze else tree

        def at_count(state: OptState) -> OptState:
            rate = state.hyperparams["peak"] * fraction(state.count)
            return state._replace(hyperparams={**state.hyperparams, "learning_rate": rate})

        def init(params: Params) -> OptState:
            left = trained(params)
            require(bool(jax.tree.leaves(left)), f"freeze {self.freeze!r} holds every parameter: narrow it")
            match_groups(self.groups, left)
            return at_count(inner.init(left))

        def update(updates: Params, state: OptState, params: Params | None = None, **extra: Any) -> Any:
            if params is None:
                raise ValueError("this optimizer needs the parameters: tx.update(gradients, opt_state, params)")
            found, state = inner.update(trained(updates), at_count(state), trained(params), **extra)
            return (fill(found, params) if self.freeze else found), state

        return optax.GradientTransformationExtraArgs(init, update)

    def schedule(self, steps: int) -> Callable[[jax.typing.ArrayLike], jax.Array]:
        """The learning rate by update count (a number or an array of counts), for a curve or a log on the host."""
        fraction = self._fraction(steps)
        return lambda count: self.peak * fraction(count)

    def frozen(self, path: str) -> bool:
        """Whether a parameter of this path stays as it is."""
        return bool(self.freeze) and re.search(self.freeze, path) is not None

    def validate(self, steps: int) -> None:
        """Refuse, in one line (BadInput), what cannot be meant."""
        falling = cooldown_steps(self.cooldown, steps) if self.shape == "wsd" else 0
        require(steps >= 1, f"steps is {steps}: it must be at least 1")
        require(self.shape in SHAPES, f"shape is {self.shape!r}: it must be one of {', '.join(SHAPES)}")
        require(self.warmup >= 0, f"warmup is {self.warmup}: it must not be negative")
        require(
            self.warmup + falling <= steps,
            f"warmup of {self.warmup} and cooldown of {falling} updates do not fit into {steps} steps: shorten them",
        )
        for name in ("floor", "cooldown"):
            value = getattr(self, name)
            require(0 <= value <= 1, f"{name} is {value}: it is a fraction from 0 to 1")
        for name in ("peak", "decay", "l1", "l2", "clip", "eps"):
            value = getattr(self, name, None)
            require(value is None or 0 <= value < float("inf"), f"{name} is {value}: it must be finite, not negative")
        for name in ("b1", "b2", "momentum"):
            value = getattr(self, name, 0.0)
            require(0 <= value < 1, f"{name} is {value}: it must be at least 0 and below 1")
        require_pattern(self.freeze, "freeze")
        for group in self.groups:
            group.validate()

    def _fraction(self, steps: int) -> Callable[[jax.typing.ArrayLike], jax.Array]:
        self.validate(steps)
        return fraction_of_peak(self.shape, steps, self.warmup, self.floor, self.cooldown)

    def _before(self) -> tuple[optax.GradientTransformation, ...]:
        """What happens to the gradient first; nothing at all for what is off."""
        clip = (optax.clip_by_global_norm(self.clip),) if self.clip else ()
        penalties = (_penalise(self.l1, self.l2, self.groups),) if self.l1 or self.l2 else ()
        return (*clip, *penalties)


def set_hyperparameters(opt_state: OptState, values: Mapping[str, jax.typing.ArrayLike]) -> OptState:
    """The optimizer state with other values of `peak` or `decay`, in the shapes and dtypes they had.

    Under `vmap` this makes packed runs: `jax.vmap(lambda peak: set_hyperparameters(opt_state, {"peak": peak}))(peaks)`.
    """
    old = opt_state.hyperparams
    for name in values:
        require(name in ("peak", "decay"), f"no hyperparameter {name!r} to set in the state: it has peak and decay")
    new = {
        name: jnp.broadcast_to(jnp.asarray(value, old[name].dtype), old[name].shape) for name, value in values.items()
    }
    return opt_state._replace(hyperparams={**old, **new})


def _penalise(l1: float, l2: float, groups: tuple[Group, ...]) -> optax.GradientTransformation:
    """Add the gradient of l1 |p| + l2 p^2 / 2, times the group's multiplier."""

    def one(group: Group, parameter: jax.Array, gradient: jax.Array) -> jax.Array:
        if group.decay and l1:
            gradient = gradient + group.decay * l1 * jnp.sign(parameter)
        return gradient + group.decay * l2 * parameter if group.decay and l2 else gradient

    return optax.stateless(lambda gradients, params: map_with_group(one, groups, params, gradients))


def _descend(rate: jax.Array, decay: jax.Array, groups: tuple[Group, ...]) -> optax.GradientTransformation:
    """Decoupled decay and the step downhill, in one expression for each parameter so that XLA makes one pass of it."""

    def one(group: Group, parameter: jax.Array, direction: jax.Array) -> jax.Array:
        if group.decay:
            direction = direction + group.decay * decay * parameter
        return -group.rate * rate * direction

    return optax.stateless(lambda directions, params: map_with_group(one, groups, params, directions))
