"""Hyperparameters that are state: runs that differ in these fields of a config alone can share one program."""

import dataclasses
from collections.abc import Iterable, Mapping
from functools import reduce
from typing import Any

import jax
import jax.numpy as jnp

from jaxlm.optim import set_hyperparameters as set_in_optimizer

OF_OPTIMIZER = {"peak": "optim.peak", "decay": "optim.decay"}  # in `opt_state`, whatever their values
OF_STEP = {"dropout": "model.dropout", "smoothing": "loss.smoothing", "ema": "run.ema"}  # in the state where above 0
FIELDS = {**OF_OPTIMIZER, **OF_STEP}


def hyperparameters(config: Any) -> dict[str, float]:
    """Those that the state of a run holds beside the optimizer's, by name. 0 is structure: no dropout, no average."""
    found = {name: _get(config, path) for name, path in OF_STEP.items()}
    return {name: value for name, value in found.items() if value}


def with_hyperparameters(config: Any, values: Mapping[str, Any]) -> Any:
    """A config with other values, which may be traced, in the fields of these hyperparameters."""
    for name, value in values.items():
        config = _set(config, FIELDS[name].split("."), value)
    return config


def values_of(config: Any, names: Iterable[str]) -> dict[str, float]:
    """The values that a config gives to the hyperparameters of these names and to the optimizer's."""
    return {name: _get(config, FIELDS[name]) for name in (*names, *OF_OPTIMIZER)}


def set_hyperparameters(state: Any, values: Mapping[str, float]) -> Any:
    """A state with other values of hyperparameters that it holds already, in its optimizer's state or beside it."""
    in_optimizer = {name: value for name, value in values.items() if name in OF_OPTIMIZER}
    in_step = {name: value for name, value in values.items() if name not in OF_OPTIMIZER}
    if in_optimizer:
        state = state.replace(opt_state=set_in_optimizer(state.opt_state, in_optimizer))
    if in_step:
        held = {name: jax.device_put(jnp.float32(value), state.step.sharding) for name, value in in_step.items()}
        state = state.replace(hyperparameters=held)
    return state


def _get(config: Any, path: str) -> Any:
    return reduce(lambda part, field: getattr(part, field, None), path.split("."), config)


def _set(part: Any, path: list[str], value: Any) -> Any:
    first, *rest = path
    return dataclasses.replace(part, **{first: _set(getattr(part, first), rest, value) if rest else value})
