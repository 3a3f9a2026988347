"""Hyperparameters that are state: runs that differ only in these fields of a config can share one program.

A spec names its own: a class attribute `hyperparameters` with the names of fields, such as ("dropout",) of a model. In
a state they are called by their path in the config, "model.encoder.dropout". The optimizer's are in `opt_state`.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from functools import reduce
from typing import Any

import jax
import jax.numpy as jnp

from jaxlm.optim import SETTABLE
from jaxlm.optim import set_hyperparameters as set_in_optimizer
from jaxlm.steps import Joint, TrainState

PREFIX = "optim."  # of the path of those in `opt_state`
OF_OPTIMIZER = tuple(PREFIX + name for name in SETTABLE)


def hyperparameters(config: Any) -> dict[str, float]:
    """Return those that the state of a run has beside the optimizer's, by path. 0 is structure, such as no dropout."""
    found = {path: getattr(part, path.rpartition(".")[2]) for path, part in _named(config, "")}
    return {path: value for path, value in found.items() if value and not path.startswith(PREFIX)}


def _named(part: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield the path of every field that a spec names as a hyperparameter, with the spec."""
    if not dataclasses.is_dataclass(part):
        return
    for name in getattr(type(part), "hyperparameters", ()):
        yield path + name, part
    for field in dataclasses.fields(part):
        if field.init and field.name not in ("parent", "name"):
            yield from _named(getattr(part, field.name), f"{path}{field.name}.")


def with_hyperparameters(config: Any, values: Mapping[str, Any]) -> Any:
    """Return a config with other values, which may be traced, at these paths."""
    for path, value in values.items():
        config = _set(config, path.split("."), value)
    return config


def values_of(config: Any, paths: Iterable[str]) -> dict[str, float]:
    """Return the values that a config gives to the hyperparameters of these paths and to the optimizer's."""
    return {path: reduce(getattr, path.split("."), config) for path in (*paths, *OF_OPTIMIZER)}


def set_state_hyperparameters(state: Any, values: Mapping[str, float]) -> Any:
    """Return a state with other values of hyperparameters that it has already, in its optimizer's state or beside.

    Of a joint state (`steps.Joint`) it is every part with an optimizer.
    """
    if isinstance(state, Joint):
        changed = {
            name: set_state_hyperparameters(part, _held(part, values)) if isinstance(part, TrainState) else part
            for name, part in state.parts.items()
        }
        return state.replace(parts=changed)
    in_optimizer = {path.removeprefix(PREFIX): x for path, x in values.items() if path.startswith(PREFIX)}
    beside = {path: value for path, value in values.items() if not path.startswith(PREFIX)}
    if in_optimizer:
        state = state.replace(opt_state=set_in_optimizer(state.opt_state, in_optimizer))
    if beside:
        placed = {path: jax.device_put(jnp.float32(value), state.step.sharding) for path, value in beside.items()}
        state = state.replace(hyperparameters=placed)
    return state


def _held(part: TrainState, values: Mapping[str, float]) -> dict[str, float]:
    return {path: x for path, x in values.items() if path.startswith(PREFIX) or path in part.hyperparameters}


def _set(part: Any, path: list[str], value: Any) -> Any:
    first, *rest = path
    return dataclasses.replace(part, **{first: _set(getattr(part, first), rest, value) if rest else value})
