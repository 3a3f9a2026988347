"""Functions from a loss to a loss, or from a step to a step. Each has its law, and the law is a test."""

import operator
from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp

from jaxlm.steps.gradient import LossFn
from jaxlm.steps.metrics import Mean, Metrics
from jaxlm.steps.state import HYPERPARAMETERS, TrainState
from jaxlm.steps.update import StepFn

PyTree = Any
Packing = Literal["unrolled", "mapped", "vmapped"]


def cast(loss: LossFn, dtype: Any, inputs: tuple[str, ...] = ()) -> LossFn:
    """Compute in `dtype` while parameters, gradients and optimizer stay as they are (mixed precision).

    Floating-point parameters are cast on the way in, and so are the entries of the batch named in `inputs`; masks and
    targets are not, because sums of many weights are wrong in bfloat16. Micikevicius et al. 2018, arXiv:1710.03740.
    Law: a cast to the dtype that the parameters have is the identity.
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
    """The loss that `make(values)` is, with the hyperparameters that the state holds in the place of these values.

    As `optax.inject_hyperparams` for an optimizer: what the state holds is traced, so that runs which differ in it
    share a program. What `make` composes of a traced value must not branch on it.
    Law: with a state that holds none, or these values, it is `make(values)` (to rounding, for a constant that XLA
    folds).
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


def prepare(function: Callable[..., Any], change: Callable[[PyTree], PyTree]) -> Callable[..., Any]:
    """A loss or gradient of `change(batch)`: normalisation, or augmentation that draws from keys in the batch.

    Around a loss it sees micro-batches, in training and evaluation; around an accumulated gradient the whole batch, in
    training. Law: with the identity it is the identity.
    """

    def prepared(params: PyTree, variables: PyTree, batch: PyTree, key: jax.Array, **options: Any) -> Any:
        return function(params, variables, change(batch), key, **options)

    return prepared


def freeze(loss: LossFn, frozen: Callable[[str], bool]) -> LossFn:
    """Hold parameters constant: their gradient is zero, and XLA leaves out the work for it.

    frozen: tells by a parameter's "/"-joined path; an optimizer that is told the same keeps no state for them (see
    `Spec.freeze` of jaxlm.optim). Batch statistics of frozen layers are still updated.
    Law: with nothing frozen it is the identity.
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
    """Leave the state as it was, but for the count of updates, wherever a metric of the step is not finite.

    `steps.update` reports the norm of the gradient, so a NaN or infinity in any of its entries is seen. The metrics
    gain "skipped" (1 or 0) and "halted": after `limit` skipped updates in a row the state stays frozen for good, and
    a loop that sees "halted" stops with an error. A skipped update has no weight in the other metrics.
    Law: on a finite step it changes nothing.
    """

    def guarded(state: TrainState, batch: Any) -> tuple[TrainState, Metrics]:
        proposed, metrics = step(state, batch)
        finite = jnp.stack([jnp.isfinite(x).all() for x in jax.tree.leaves(metrics)]).all()
        halted = state.skipped >= limit
        take = finite & ~halted
        kept = jax.tree.map(lambda new, old: _select(take, new, old), proposed, state)
        skipped = jnp.where(take, 0, state.skipped + 1)
        metrics = jax.tree.map(lambda x: _select(take, x, jnp.zeros_like(x)), metrics)
        one = jnp.ones(())
        metrics |= {"skipped": Mean(1.0 - take, one), "halted": Mean((skipped >= limit) * one, one)}
        return kept.replace(step=proposed.step, skipped=skipped), metrics

    return guarded


def _select(condition: jax.Array, new: jax.Array, old: jax.Array) -> jax.Array:
    return new if new is old else jnp.where(condition, new, old)


def ema(step: StepFn, decay: float) -> StepFn:
    """Keep a running average of the parameters: `ema = decay * ema + (1 - decay) * params` after every update.

    The variables, such as batch statistics, are averaged with them; whole numbers among them are the latest ones.
    The state must have been started with `ema=True`; where it holds a hyperparameter "ema", that is the decay.
    Polyak & Juditsky 1992.
    Law: `ema(step, 0)` follows the parameters.
    """

    def averaged(state: TrainState, batch: Any) -> tuple[TrainState, Metrics]:
        if state.ema is None:
            raise ValueError("the state keeps no average: start it with ema=True")
        state, metrics = step(state, batch)
        kept = state.hyperparameters.get("ema", decay)

        def mixed(old: jax.Array, new: jax.Array) -> jax.Array:
            return kept * old + (1 - kept) * new if jnp.issubdtype(new.dtype, jnp.inexact) else new

        average = jax.tree.map(mixed, state.ema, {"params": state.params, **state.variables})
        return state.replace(ema=average), metrics

    return averaged


def repeat(step: StepFn, times: int) -> StepFn:
    """Several updates in one program, for models whose step is shorter than its dispatch.

    The step takes a tuple of `times` batches of one shape; the metrics are merged over them.
    Law: it is the same as `times` single steps. `repeat(step, 1)` takes a tuple of one batch.
    """

    def repeated(state: Any, batches: tuple[Any, ...]) -> tuple[Any, Metrics]:
        if len(batches) != times:
            raise ValueError(f"repeat({times}) takes {times} batches and got {len(batches)}")
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *batches)
        state, metrics = jax.lax.scan(step, state, stacked)
        return state, jax.tree.map(lambda x: x.sum(0), metrics)

    return repeated


def over_runs(function: Callable[..., PyTree], packing: Packing) -> Callable[..., PyTree]:
    """Several runs in one program: every leaf of every argument and of the result gains a leading axis of runs.

    For a step these are states and batches, of runs that differ in seed and in hyperparameters that are state
    (`optim.set_hyperparameters`). The packings differ in speed, and in whether a run keeps the bits it has alone:

    unrolled: a copy of the function for each run; exact where measured; compile time grows with the runs.
    mapped: one after another by `lax.map`; exact for an MLP, and for a transformer not always. On a CPU neither exact
      nor fast for convolutions, which leave XLA's fast path inside a loop.
    vmapped: `jax.vmap`; the fastest where one run is too small for the device, and exact for none.
    Law: run r of an exact packing is `function` on the slices r, bit for bit.
    """

    def unrolled(*arguments: PyTree) -> PyTree:
        runs = len(jax.tree.leaves(arguments)[0])
        results = [function(*jax.tree.map(operator.itemgetter(run), arguments)) for run in range(runs)]
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *results)

    def mapped(*arguments: PyTree) -> PyTree:
        return jax.lax.map(lambda run: function(*run), arguments)

    packings = {"unrolled": unrolled, "mapped": mapped, "vmapped": jax.vmap(function)}
    if packing not in packings:
        raise ValueError(f"no packing {packing!r}: choose one of {', '.join(packings)}")
    return packings[packing]
