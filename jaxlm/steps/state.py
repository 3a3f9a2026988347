"""The state of a training run: arrays in a pytree and nothing else."""

from collections.abc import Mapping
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax

from jaxlm.steps.model import Model, PyTree

HYPERPARAMETERS = "hyperparameters"  # the collection in which a loss is handed those of the state


class TrainState(flax.struct.PyTreeNode):
    """Everything that a training step reads and writes; a checkpoint of it is enough to go on bit for bit.

    Attributes:
        step: int32 scalar, updates completed.
        params: what is trained.
        variables: Linen's other collections, such as `{"batch_stats": ...}`.
        opt_state: the state of the optax transformation.
        key: typed PRNG key that never advances; update i draws from `fold_in(key, i)`.
        skipped: int32 scalar, updates skipped in a row (see `transforms.skip_nonfinite`).
        ema: running average of {"params": params, **variables}, or None for none. Batch statistics belong to the
            parameters that made them, so they are averaged with them.
        hyperparameters: float32 scalars by name that a step reads and never changes, so that runs which differ in them
            share a program (see `transforms.inject` and `transforms.ema`); those of an optimizer are in `opt_state`.
    """

    step: jax.Array
    params: PyTree
    variables: PyTree
    opt_state: PyTree
    key: jax.Array
    skipped: jax.Array
    ema: PyTree = None
    hyperparameters: dict[str, jax.Array] = flax.struct.field(default_factory=dict)


def eval_variables(params: PyTree, variables: PyTree, ema: PyTree) -> dict[str, PyTree]:
    """Return what an evaluation applies, {"params": ..., other collections}: the average where there is one."""
    return {"params": params, **(variables or {})} if ema is None else ema


class Joint(flax.struct.PyTreeNode):
    """Several states that train together as one: the nets of a GAN, a teacher and a student, an agent and its world.

    Attributes:
        parts: name -> state, such as a `TrainState` or any other pytree of arrays.
        step: int32 scalar, updates completed.
        key: typed PRNG key that never advances; update i draws from `fold_in(key, i)`.
        skipped: int32 scalar, updates skipped in a row (see `transforms.skip_nonfinite`).
    """

    parts: dict[str, PyTree]
    step: jax.Array
    key: jax.Array
    skipped: jax.Array


def joint(key: jax.Array, **parts: PyTree) -> Joint:
    """Join states into one before the first update.

    Args:
        key: typed PRNG key of the joint state; the states have keys of their own.
        **parts: states by name.
    """
    zero = jnp.zeros((), jnp.int32)
    return Joint(parts=parts, step=zero, key=key, skipped=jnp.copy(zero))


def loss_variables(variables: PyTree, hyperparameters: dict[str, jax.Array]) -> dict[str, PyTree]:
    """Return the variable collections passed to the loss: the state's, and "hyperparameters" where it has any."""
    return {**variables, HYPERPARAMETERS: hyperparameters} if hyperparameters else variables


def new_state(
    params: PyTree,
    tx: optax.GradientTransformation,
    key: jax.Array,
    *,
    variables: PyTree = None,
    ema: bool = False,
    hyperparameters: Mapping[str, float] | None = None,
) -> TrainState:
    """Return the state before the first update, for parameters that exist already.

    Args:
        params: pytree of arrays.
        tx: the optimizer.
        key: typed PRNG key, the root of all that training draws.
        variables: other collections; None for none.
        ema: whether to keep a running average. It starts at the parameters, so the state's structure never changes.
        hyperparameters: numbers by name that the step reads from the state.
    """
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        variables={} if variables is None else variables,
        opt_state=tx.init(params),
        key=key,
        skipped=jnp.zeros((), jnp.int32),
        ema=jax.tree.map(jnp.copy, {"params": params, **(variables or {})}) if ema else None,
        hyperparameters={name: jnp.asarray(x, jnp.float32) for name, x in (hyperparameters or {}).items()},
    )


def init(
    model: Model,
    tx: optax.GradientTransformation,
    example: Any,
    key: jax.Array,
    *,
    ema: bool = False,
    hyperparameters: Mapping[str, float] | None = None,
) -> TrainState:
    """Initialise a model and return the state before the first update.

    Args:
        model: a Linen module, or anything with its `init`.
        tx: the optimizer.
        example: the input of the model's `__call__` (a tuple: several inputs), of any batch size.
        key: typed PRNG key: one half draws the parameters, the other becomes the root key of training.
        ema: see `new_state`.
        hyperparameters: see `new_state`.
    """
    init_key, train_key = jax.random.split(key)
    inputs = example if isinstance(example, tuple) else (example,)
    variables = dict(model.init(init_key, *inputs))
    params = variables.pop("params")
    return new_state(params, tx, train_key, variables=variables, ema=ema, hyperparameters=hyperparameters)
