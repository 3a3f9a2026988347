"""Transforms of a loss, a gradient or a step, in the manner of optax. Each has its law, and the law is a test."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxlm.metrics.mean import Mean, Metrics
from jaxlm.steps.gradient import LossFn
from jaxlm.steps.model import PyTree
from jaxlm.steps.state import HYPERPARAMETERS, TrainState
from jaxlm.steps.update import StepFn


def cast(loss: LossFn, dtype: Any, inputs: tuple[str, ...] = ()) -> LossFn:
    """Compute in `dtype`, such as bfloat16, with parameters, gradients and optimizer in float32 (mixed precision).

    Floating-point parameters are cast on the way in. Masks and targets are not, because a sum of many weights is wrong
    in bfloat16. Micikevicius et al. 2018, arXiv:1710.03740.

    JAX sums the gradient of a bias over all rows in the dtype of the bias. The layers of `jaxlm.nn` sum in float32; a
    layer of your own does with `jaxlm.nn.linear.Dense` and `broadcast`, and does not with `flax.linen.Dense`.

    Law: a cast to the dtype of the parameters is the identity. The gradient of a model of `jaxlm.models` changes with
    the micro-batches by the rounding of its result.

    Args:
        loss: the loss.
        dtype: of the forward and backward pass.
        inputs: names of batch entries that are cast too, such as ("image",).
    """

    def cast_leaf(x: jax.Array) -> jax.Array:
        return x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x

    def cast_loss(
        params: PyTree, variables: PyTree, batch: PyTree, key: jax.Array, *, train: bool
    ) -> tuple[Metrics, PyTree]:
        if inputs:
            batch = batch | {name: cast_leaf(batch[name]) for name in inputs}
        return loss(jax.tree.map(cast_leaf, params), variables, batch, key, train=train)

    return cast_loss


def inject(make: Callable[[Mapping[str, Any]], LossFn], values: Mapping[str, float]) -> LossFn:
    """Let a loss read hyperparameters from the state, as `optax.inject_hyperparams` does for an optimizer.

    The state's values are traced, so runs that differ in them share a compiled program. What `make` composes of a
    traced value must not branch on it.

    Law: with a state that has none of them, or these same values, it is `make(values)` (to rounding, for a constant
    that XLA folds).

    Args:
        make: values by name -> loss.
        values: name -> number; each is replaced by that of the state.
    """
    plain = make(values)

    def injected(
        params: PyTree, variables: PyTree, batch: PyTree, key: jax.Array, *, train: bool
    ) -> tuple[Metrics, PyTree]:
        held = variables.get(HYPERPARAMETERS)
        if held is None:
            return plain(params, variables, batch, key, train=train)
        others = {name: x for name, x in variables.items() if name != HYPERPARAMETERS}
        metrics, others = make({**values, **held})(params, others, batch, key, train=train)
        return metrics, {**others, HYPERPARAMETERS: held}

    return injected


def lend(function: Callable[..., Any], name: str, make: Callable[[PyTree], PyTree]) -> Callable[..., Any]:
    """Give a loss or gradient the collection `variables[name] = make(batch)`, and drop it from what comes back.

    For what a loss reads and does not train: the other net, a target net, the average, sums over the whole batch.
    `make` may close over traced values, such as the parameters of the other net inside a step. Around an accumulated
    gradient `make` sees the whole batch of the device, around a loss each micro-batch.

    Law: for a loss that does not read `name` it is the identity.

    Args:
        function: a `LossFn` or `GradFn`, whose last result are the variables.
        name: of the collection; it must not be one of the state.
        make: batch -> pytree of arrays.

    Raises:
        ValueError: the variables have a collection of this name (when the step is traced).
    """

    def lent(params: PyTree, variables: PyTree, batch: PyTree, key: jax.Array, **options: Any) -> Any:
        if name in variables:
            raise ValueError(f"the variables have a collection {name!r} already: lend under another name")
        *results, changed = function(params, {**variables, name: make(batch)}, batch, key, **options)
        return *results, {key: x for key, x in changed.items() if key != name}

    return lent


WEIGHTS = "weights"  # the collection that `weigh` lends


def weigh(grad: Callable[..., Any], weights: Callable[[PyTree], PyTree], total: Callable[[PyTree], PyTree]) -> Any:
    """Give a loss the weights of the whole batch, `variables["weights"] = total(weights(batch))`.

    A loss of two means with denominators of their own (next sentence beside hidden words, boxes beside classes) is
    `sum_1 / W_1 + sum_2 / W_2` with W over the whole batch, which a micro-batch or a device alone cannot know. Such a
    loss returns `Mean(sum_1 + sum_2 * W_1 / W_2, weight_1)`, which `steps.update` divides by W_1. The loss has to guard
    against a weight of 0. In an evaluation nothing is lent, and the loss returns each mean as a metric of its own.

    Law: gradients do not depend on micro-batches or devices.

    Args:
        grad: a gradient, accumulated already: `place.reduce(weigh(accumulate(grad(loss), k), weights, place.sum))`.
        weights: batch -> pytree of sums, such as {"words": batch["mask"].sum(), "pairs": ...}.
        total: `place.sum`, which adds over devices.
    """
    return lend(grad, WEIGHTS, lambda batch: total(weights(batch)))


def prepare(function: Callable[..., Any], change: Callable[[PyTree], PyTree]) -> Callable[..., Any]:
    """Apply `change` to the batch before a loss or gradient: normalisation, or augmentation from keys in the batch.

    Around a loss it sees micro-batches, in training and evaluation; around an accumulated gradient the whole batch, in
    training only.

    Law: with the identity it is the identity.

    Args:
        function: a `LossFn` or `GradFn`.
        change: batch -> batch.
    """

    def prepared(params: PyTree, variables: PyTree, batch: PyTree, key: jax.Array, **options: Any) -> Any:
        return function(params, variables, change(batch), key, **options)

    return prepared


def freeze(loss: LossFn, frozen: Callable[[str], bool]) -> LossFn:
    """Stop the gradient of some parameters: it is zero, and XLA drops the work for it.

    Batch statistics of frozen layers are still updated, as in PyTorch.

    Law: with nothing frozen it is the identity.

    Args:
        loss: the loss.
        frozen: "/"-joined path of a parameter -> whether it is frozen. Give the optimizer the same function, so that it
            keeps no state for them (`Spec.freeze` of `jaxlm.optim`).
    """

    def hold(path: Any, x: jax.Array) -> jax.Array:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        return jax.lax.stop_gradient(x) if frozen(name) else x

    def frozen_loss(
        params: PyTree, variables: PyTree, batch: PyTree, key: jax.Array, *, train: bool
    ) -> tuple[Metrics, PyTree]:
        return loss(jax.tree_util.tree_map_with_path(hold, params), variables, batch, key, train=train)

    return frozen_loss


def skip_nonfinite(step: StepFn, limit: int = 10) -> StepFn:
    """Skip an update whose gradient or metrics are not finite: the state stays, and only `step` counts on.

    `steps.update` reports the norm of the gradient, so a NaN or infinity in any of its entries is seen. The mean loss
    of a batch that is masked altogether is 0 / 0, so that update is skipped too, with its weight decay and momentum.
    The metrics gain "skipped" (1 or 0) and "halted": after `limit` skipped updates in a row the state is frozen for
    good, and a loop that reads "halted" stops with an error. A skipped update has no weight in the other metrics.

    Law: a finite step is unchanged.

    Args:
        step: (state, batch) -> (state, metrics), of a `TrainState` or a `Joint`.
        limit: skipped updates in a row that halt the run.
    """

    def guarded(state: TrainState, batch: Any) -> tuple[TrainState, Metrics]:
        proposed, metrics = step(state, batch)
        finite = jnp.stack([jnp.isfinite(x).all() for x in jax.tree.leaves(metrics)]).all()
        empty = "loss" in metrics and metrics["loss"].weight == 0
        halted = state.skipped >= limit
        take = finite & ~halted & jnp.logical_not(empty)
        kept = jax.tree.map(lambda new, old: _select(take, new, old), proposed, state)
        skipped = jnp.where(take, 0, state.skipped + 1)
        metrics = jax.tree.map(lambda x: _select(take, x, jnp.zeros_like(x)), metrics)
        one = jnp.ones(())
        metrics |= {"skipped": Mean(1.0 - take, one), "halted": Mean((skipped >= limit) * one, one)}
        return kept.replace(step=proposed.step, skipped=skipped), metrics

    return guarded


def _select(condition: jax.Array, new: jax.Array, old: jax.Array) -> jax.Array:
    return new if new is old else jnp.where(condition, new, old)


def ema(step: StepFn, decay: float, name: str = "ema") -> StepFn:
    """Keep an exponential moving average of the parameters: `ema = d ema + (1 - d) params` after an update.

    The decay warms up, `d = min(decay, (1 + t) / (10 + t))` at update t = 0, 1, ... (as in TensorFlow's
    `ExponentialMovingAverage`): without that, the parameters that a short run began with would be most of its average.
    It is a function of the state's `step`, so a resumed run has the same average. Floating-point variables, such as
    batch statistics, are averaged too; integers, and what the step does not change, are the latest ones. The state must
    have been started with `ema=True`.
    Polyak & Juditsky 1992.

    Law: `ema(step, 0)` follows the parameters.

    Args:
        step: the step whose parameters are averaged.
        decay: from 0 to 1.
        name: of a hyperparameter of the state that replaces `decay` where the state has it.

    Raises:
        ValueError: the state has no average (when the step is traced).
    """

    def averaged(state: TrainState, batch: Any) -> tuple[TrainState, Metrics]:
        if state.ema is None:
            raise ValueError("the state keeps no average: start it with ema=True")
        kept = jnp.minimum(state.hyperparameters.get(name, decay), (1 + state.step) / (10 + state.step))
        given = {id(x) for x in jax.tree.leaves(state.variables)}  # traced arrays: one object is one value
        state, metrics = step(state, batch)

        def mixed(old: jax.Array, new: jax.Array) -> jax.Array:
            if id(new) in given or not jnp.issubdtype(new.dtype, jnp.inexact):
                return new
            return (kept * old + (1 - kept) * new).astype(old.dtype)

        average = jax.tree.map(mixed, state.ema, {"params": state.params, **state.variables})
        return state.replace(ema=average), metrics

    return averaged


def repeat(step: StepFn, times: int) -> StepFn:
    """Run several updates in one program, for models whose step is shorter than its dispatch.

    Law: it is `times` single steps, to rounding; `repeat(step, 1)` takes a tuple of one batch.

    Args:
        step: (state, batch) -> (state, metrics).
        times: updates in a call.

    Returns:
        (state, tuple of `times` batches of one shape) -> (state, metrics merged over them).

    Raises:
        ValueError: another number of batches.
    """

    def repeated(state: Any, batches: tuple[Any, ...]) -> tuple[Any, Metrics]:
        if len(batches) != times:
            raise ValueError(f"repeat({times}) takes {times} batches and got {len(batches)}")
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *batches)
        state, metrics = jax.lax.scan(step, state, stacked)
        return state, jax.tree.map(lambda x: x.sum(0), metrics)

    return repeated
