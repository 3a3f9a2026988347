"""From a gradient to a step, and from a loss to an evaluation."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxlm.metrics.mean import Mean, Metrics
from jaxlm.steps.gradient import GradFn, LossFn
from jaxlm.steps.state import HYPERPARAMETERS, TrainState, eval_variables, loss_variables

StepFn = Callable[[Any, Any], tuple[Any, Metrics]]
EvalFn = Callable[[Any, Any], Metrics]


def update(grad: GradFn, tx: optax.GradientTransformation) -> StepFn:
    """Make a training step of a gradient and an optimizer: the summed gradient is divided once, by the batch's weight.

    The metrics gain "grad_norm", the global L2 norm of the divided gradient before the optimizer, and "learning_rate"
    where the optimizer's state has one. A batch of weight 0 has a zero gradient.

    Args:
        grad: gradients as sums, over micro-batches and devices.
        tx: the optimizer.
    """

    def step(state: TrainState, batch: Any) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(state.key, state.step)
        given = loss_variables(state.variables, state.hyperparameters)
        grads, metrics, variables = grad(state.params, given, batch, key)
        variables = {name: x for name, x in variables.items() if name != HYPERPARAMETERS}
        weight = metrics["loss"].weight
        scale = 1.0 / jnp.where(weight == 0, 1, weight)
        grads = jax.tree.map(lambda g: g * scale.astype(g.dtype), grads)
        updates, opt_state = tx.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        metrics = metrics | {"grad_norm": Mean(optax.tree.norm(grads), jnp.ones(()))} | _learning_rate(opt_state)
        return state.replace(step=state.step + 1, params=params, variables=variables, opt_state=opt_state), metrics

    return step


def _learning_rate(opt_state: Any) -> Metrics:
    rates = [rate for _, rate in optax.tree.get_all_with_path(opt_state, "learning_rate")]
    return {"learning_rate": Mean(rates[0], jnp.ones(()))} if len(rates) == 1 else {}


def evaluate(loss: LossFn) -> EvalFn:
    """Make an evaluation of a loss: its metrics with `train=False`, at the average of the parameters if there is.

    The key that the loss is given is a function of (state, update, first of the batch's "keys"), so that no two batches
    share their noise where they have "keys". Noise from the key of each example (`jaxlm.data.keys`) does not depend on
    the division into batches either.
    """

    def measure(state: TrainState, batch: Any) -> Metrics:
        variables = dict(eval_variables(state.params, state.variables, state.ema))
        params = variables.pop("params")
        variables = loss_variables(variables, state.hyperparameters)
        key = jax.random.fold_in(state.key, state.step)
        if isinstance(batch, dict) and "keys" in batch:
            key = jax.random.fold_in(key, batch["keys"][0, 0])
        metrics, _ = loss(params, variables, batch, key, train=False)
        return metrics

    return measure
