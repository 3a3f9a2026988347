"""The state of a training run: arrays in a pytree and nothing else."""

from collections.abc import Mapping
from typing import Any, Protocol

import flax.struct
import jax
import jax.numpy as jnp
import optax

PyTree = Any
HYPERPARAMETERS = "hyperparameters"  # the collection in which a loss is handed those of the state


class Initialises(Protocol):
    """What `init` asks of a model; a Linen module does it."""

    def init(self, rngs: jax.Array, *args: Any) -> dict[str, PyTree]:
        """Return the variable collections, with "params" among them."""


class TrainState(flax.struct.PyTreeNode):
    """All that a training step reads and writes; checkpointing it is enough to go on bit for bit.

    step: int32 scalar, updates completed.         params: what is trained.
    variables: Linen's other collections.          opt_state: the state of the optax transformation.
    key: typed PRNG key that never advances; update i draws from `fold_in(key, i)`.
    skipped: int32 scalar, updates skipped in a row (see `transforms.skip_nonfinite`).
    ema: running average of {"params": params, **variables}, or None where no average is kept. Batch statistics belong
      to the parameters that made them, so they are averaged with them.
    hyperparameters: numbers by name that a step reads and never changes, float32 scalars, so that runs which differ in
      them share a program (see `transforms.inject` and `transforms.ema`); those of an optimizer are in `opt_state`.
    """

    step: jax.Array
    params: PyTree
    variables: PyTree
    opt_state: PyTree
    key: jax.Array
    skipped: jax.Array
    ema: PyTree = None
    hyperparameters: dict[str, jax.Array] = flax.struct.field(default_factory=dict)


def evaluated(params: PyTree, variables: PyTree, ema: PyTree) -> dict[str, PyTree]:
    """What an evaluation of a state applies, {"params": ..., other collections}: the average where one is kept."""
    return {"params": params, **(variables or {})} if ema is None else ema


def handed(variables: PyTree, hyperparameters: dict[str, jax.Array]) -> dict[str, PyTree]:
    """The collections that a loss is given of a state: its variables, and its hyperparameters where it holds any."""
    return {**variables, HYPERPARAMETERS: hyperparameters} if hyperparameters else variables


def start(
    params: PyTree,
    tx: optax.GradientTransformation,
    key: jax.Array,
    *,
    variables: PyTree = None,
    ema: bool = False,
    hyperparameters: Mapping[str, float] | None = None,
) -> TrainState:
    """The state before the first update, from parameters that are there already.

    `ema=True` starts the average at the parameters, so that the structure of the state never changes.
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
    model: Initialises,
    tx: optax.GradientTransformation,
    example: Any,
    key: jax.Array,
    *,
    ema: bool = False,
    hyperparameters: Mapping[str, float] | None = None,
) -> TrainState:
    """The state before the first update, with parameters drawn by `model.init(key, example)`.

    example: the input that the model's `__call__` takes (a tuple: several inputs), of any batch size.
    key: typed PRNG key; one half draws the parameters, the other becomes the root key of training.
    """
    init_key, train_key = jax.random.split(key)
    inputs = example if isinstance(example, tuple) else (example,)
    variables = dict(model.init(init_key, *inputs))
    params = variables.pop("params")
    return start(params, tx, train_key, variables=variables, ema=ema, hyperparameters=hyperparameters)
