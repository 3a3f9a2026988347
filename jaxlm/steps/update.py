"""From a gradient to a step, and from a loss to an evaluation."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxlm.steps.gradient import GradFn, LossFn
from jaxlm.steps.metrics import Mean, Metrics
from jaxlm.steps.state import HYPERPARAMETERS, TrainState, evaluated, handed

StepFn = Callable[[Any, Any], tuple[Any, Metrics]]
EvalFn = Callable[[Any, Any], Metrics]


def update(grad: GradFn, tx: optax.GradientTransformation) -> StepFn:
    """One optimizer update: the summed gradient is divided, here and once, by the total weight of the batch.

    The metrics gain "grad_norm", the global L2 norm of the divided gradient before the optimizer sees it, and
    "learning_rate" where the optimizer state carries one. A batch of no weight has a zero gradient.
    """

    def step(state: TrainState, batch: Any) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(state.key, state.step)
        given = handed(state.variables, state.hyperparameters)
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
    """The metrics of a batch with `train=False`, at the average where the state keeps one."""

    def measure(state: TrainState, batch: Any) -> Metrics:
        variables = dict(evaluated(state.params, state.variables, state.ema))
        params = variables.pop("params")
        variables = handed(variables, state.hyperparameters)
        metrics, _ = loss(params, variables, batch, jax.random.fold_in(state.key, state.step), train=False)
        return metrics

    return measure
