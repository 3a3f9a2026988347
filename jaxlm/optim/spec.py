"""The part that every optimizer shares: schedule, clipping, penalties, groups, and hyperparameters as state."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import optax
from optax import OptState, Params

from jaxlm.optim.groups import (
    TRANSFORMER_GROUPS,
    Group,
    fill,
    map_with_group,
    match_groups,
    require,
    require_pattern,
    without,
)
from jaxlm.optim.prune import Prune
from jaxlm.optim.schedules import SCHEDULES, ScheduleName, cooldown_steps, fraction_of_peak

SETTABLE = ("peak_lr", "weight_decay")  # hyperparameters of `opt_state` that may be changed there


@dataclass(frozen=True, kw_only=True)
class Spec:
    """An optimizer as a config value: `spec(steps)` is the optax transformation for a run of that many updates.

    One update of parameters p with gradient g, where m and r are the decay and rate multipliers of p's group:

        g <- g * min(1, clip_norm / |g|)             |g| over all parameters; 0 or None is off
        g <- g + m (l1 sign(p) + l2 p)               coupled: it passes through the moments
        p <- p - r rate (direction(g) + m weight_decay p)   decoupled (arXiv:1711.05101, times the rate)
        rate = peak_lr * fraction_of_peak(count)

    **Hyperparameters are state.** They are always in `opt_state.hyperparams` (`optax.inject_hyperparams`), as float32:
    an injected value is not bit-equal to a compiled constant, so a single run must compute what a packed run computes.
    `peak_lr` and `weight_decay` may be changed there (see `set_hyperparameters`), and may differ between runs under
    `vmap`. `learning_rate` is for reading: the rate of the latest update (before the first: of the next one). It is
    recomputed as peak_lr * fraction at each update, because a schedule with a constant peak could not be scaled by run.
    Schedule, penalties, clipping and groups are structure: chosen while composing, the same for all packed runs.

    Attributes:
        peak_lr: the highest learning rate.
        warmup: updates of linear rise to the peak.
        schedule: the learning rate after the warm-up; `fraction_of_peak` has the exact curves.
        final_fraction: the last learning rate, as a fraction of the peak.
        cooldown: length of wsd's last phase, as a fraction of the steps.
        weight_decay: decoupled weight decay, times the learning rate.
        l1: weight of sign(p), added to the gradient.
        l2: weight of p, added to the gradient.
        clip_norm: the largest global norm of the gradient; 0 or None is off.
        groups: parameter groups; each parameter must match exactly one.
        freeze: regular expression for the paths of parameters that are not trained and need no state.
        prune: weights that become zero, or stay zero.
    """

    peak_lr: float = 1e-3
    warmup: int = 0
    schedule: ScheduleName = "cosine"
    final_fraction: float = 0.1
    cooldown: float = 0.2
    weight_decay: float = 0.0
    l1: float = 0.0
    l2: float = 0.0
    clip_norm: float | None = None
    groups: tuple[Group, ...] = TRANSFORMER_GROUPS
    freeze: str = ""
    prune: Prune = field(default_factory=Prune)

    def direction(self) -> optax.GradientTransformation:
        """Return the transformation from gradients to the direction to descend, without a learning rate."""
        raise NotImplementedError

    def __call__(self, steps: int) -> optax.GradientTransformationExtraArgs:
        """Build the optax transformation for a run of `steps` updates.

        Raises:
            BadInput: fields that make no sense. Its `init` raises it where a parameter is not in exactly one group.
        """
        fraction = self._fraction(steps)

        def build(
            peak_lr: jax.Array, learning_rate: jax.Array, weight_decay: jax.Array
        ) -> optax.GradientTransformationExtraArgs:
            del peak_lr  # in the state for `update` below
            stages = (*self._before(), self.direction(), _descend(learning_rate, weight_decay, self.groups))
            return optax.chain(*stages)

        injected = optax.inject_hyperparams(build, hyperparam_dtype=jnp.float32)
        inner = injected(peak_lr=self.peak_lr, learning_rate=self.peak_lr, weight_decay=self.weight_decay)

        def trained(tree: Params) -> Params:
            return without(tree, self.frozen) if self.freeze else tree

        def at_count(state: OptState) -> OptState:
            rate = state.hyperparams["peak_lr"] * fraction(state.count)
            return state._replace(hyperparams={**state.hyperparams, "learning_rate": rate})

        def init(params: Params) -> OptState:
            left = trained(params)
            require(bool(jax.tree.leaves(left)), f"freeze {self.freeze!r} holds every parameter: narrow it")
            match_groups(self.groups, left)
            return at_count(inner.init(left))

        def update(updates: Params, state: OptState, params: Params | None = None, **extra: Any) -> Any:
            if params is None:
                raise ValueError("this optimizer needs the parameters: tx.update(gradients, opt_state, params)")
            count = state.count
            left = trained(params)
            found, state = inner.update(trained(updates), at_count(state), left, **extra)
            found = self.prune(found, left, count)
            return fill(found, params) if self.freeze else found, state

        return optax.GradientTransformationExtraArgs(init, update)

    def learning_rate(self, steps: int) -> Callable[[jax.typing.ArrayLike], jax.Array]:
        """Return the learning rate as a function of the update count (a number or an array), on the host."""
        fraction = self._fraction(steps)
        return lambda count: self.peak_lr * fraction(count)

    def frozen(self, path: str) -> bool:
        """Return whether a parameter with this path is frozen."""
        return bool(self.freeze) and re.search(self.freeze, path) is not None

    def validate(self, steps: int) -> None:
        """Check the fields; raises BadInput with one line."""
        falling = cooldown_steps(self.cooldown, steps) if self.schedule == "wsd" else 0
        require(steps >= 1, f"steps is {steps}: it must be at least 1")
        require(self.schedule in SCHEDULES, f"schedule is {self.schedule!r}: it must be one of {', '.join(SCHEDULES)}")
        require(self.warmup >= 0, f"warmup is {self.warmup}: it must not be negative")
        require(
            self.warmup + falling <= steps,
            f"warmup of {self.warmup} and cooldown of {falling} updates do not fit into {steps} steps: shorten them",
        )
        for name in ("final_fraction", "cooldown"):
            value = getattr(self, name)
            require(0 <= value <= 1, f"{name} is {value}: it is a fraction from 0 to 1")
        for name in ("peak_lr", "weight_decay", "l1", "l2", "clip_norm", "eps"):
            value = getattr(self, name, None)
            require(value is None or 0 <= value < float("inf"), f"{name} is {value}: it must be finite, not negative")
        for name in ("b1", "b2", "momentum"):
            value = getattr(self, name, 0.0)
            require(0 <= value < 1, f"{name} is {value}: it must be at least 0 and below 1")
        require_pattern(self.freeze, "freeze")
        self.prune.validate(steps)
        for group in self.groups:
            group.validate()

    def _fraction(self, steps: int) -> Callable[[jax.typing.ArrayLike], jax.Array]:
        self.validate(steps)
        return fraction_of_peak(self.schedule, steps, self.warmup, self.final_fraction, self.cooldown)

    def _before(self) -> tuple[optax.GradientTransformation, ...]:
        """Return the transformations of the gradient that come first, and none for options that are off."""
        clip = (optax.clip_by_global_norm(self.clip_norm),) if self.clip_norm else ()
        penalties = (_penalise(self.l1, self.l2, self.groups),) if self.l1 or self.l2 else ()
        return (*clip, *penalties)


def set_hyperparameters(opt_state: OptState, values: Mapping[str, jax.typing.ArrayLike]) -> OptState:
    """Replace `peak_lr` or `weight_decay` in an optimizer state, keeping shapes and dtypes.

    Packed runs: `jax.vmap(lambda rate: set_hyperparameters(opt_state, {"peak_lr": rate}))(rates)`.

    Raises:
        BadInput: a hyperparameter that is not in the state.
    """
    old = opt_state.hyperparams
    for name in values:
        require(name in SETTABLE, f"no hyperparameter {name!r} to set in the state: it has {', '.join(SETTABLE)}")
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
    """Apply decoupled decay and the learning rate in one expression per parameter, so that XLA makes one pass of it."""

    def one(group: Group, parameter: jax.Array, direction: jax.Array) -> jax.Array:
        if group.decay:
            direction = direction + group.decay * decay * parameter
        return -group.rate * rate * direction

    return optax.stateless(lambda directions, params: map_with_group(one, groups, params, directions))
