"""Federated learning: clients train on examples of their own, and a server moves the model by what they changed.

A batch of a round has C clients, as `jaxlm.data.clients` makes it. Each has its examples, arrays (C, N, ...), and how
it goes through them: "order" int32 (C, L, B), the numbers of its examples in each of at most L local batches; "has"
float32 (C, L, B), 0 on padding; "updates" int32 (C,), the local batches that there are; "keys" uint32 (C, 2), a PRNG
key. A client with 0 updates has no examples or dropped out: it changes nothing. "mask" is of examples, float32
(C, N, ...), or of clients, (C,), where a round has room for more of them than it has.
"""

from collections.abc import Callable
from typing import Any, Literal

import flax.struct
import jax
import jax.numpy as jnp
import optax

from jaxlm.errors import BadInput
from jaxlm.metrics.mean import Mean, Metrics
from jaxlm.steps.gradient import GradFn, split
from jaxlm.steps.keys import typed_keys
from jaxlm.steps.model import PyTree
from jaxlm.steps.state import HYPERPARAMETERS, Joint, new_state
from jaxlm.steps.update import StepFn, update

Weights = Literal["examples", "clients"]
LOOK = ("order", "has", "updates", "keys", "member")  # entries of a client that are not arrays of its examples


def federated(
    grad: GradFn,
    tx: optax.GradientTransformation,
    *,
    proximal: float = 0.0,
    weights: Weights = "examples",
    clip_norm: float | None = None,
) -> GradFn:
    """Federated averaging as a gradient: the sum over clients of n_k (w - w_k), where w_k is what client k trained.

    `steps.update` divides it once by the sum of n_k. A server that descends it by SGD at a rate of 1 averages the
    clients (FedAvg, McMahan et al. 2017, arXiv:1602.05629, algorithm 1); by Adam it is FedAdam (Reddi et al. 2021,
    arXiv:2003.00295). Clients are computed side by side; `steps.accumulate(federated(...), parts)` trains them one
    part after another, which is faster on a CPU and takes less memory.

    Laws: one client with one local update at a rate r is a step of SGD at the rate r, to rounding. Micro-batches and
    placements change nothing but rounding. A client with 0 updates changes nothing. With `proximal` 0 it is FedAvg.

    Args:
        grad: the gradient of a local batch as sums, such as `steps.grad(loss)`.
        tx: the optimizer of a client, whose state is new in each round.
        proximal: mu of FedProx, which adds the gradient of mu / 2 |w_k - w|^2 (Li et al. 2020, arXiv:1812.06127).
        weights: n_k is the weight of the client's loss, or 1 for each client that trained.
        clip_norm: the largest global L2 norm of w - w_k, to which a larger one is scaled down, and one that is not
            finite counts as 0; None is off. With `weights` "clients" the sum then moves by at most this when a client
            is added or left out, which noise can hide (`steps.add_noise`; McMahan et al. 2018, arXiv:1710.06963).
    """

    def summed(params: PyTree, variables: PyTree, batch: PyTree, key: jax.Array) -> tuple[PyTree, Metrics, PyTree]:
        step, given = update(_near(grad, proximal, params), tx), _no_statistics(variables)

        def local(client: PyTree) -> tuple[PyTree, Metrics]:
            own, metrics = _train(step, tx, params, given, client)
            metrics = metrics if weights == "examples" else _one_a_client(metrics)
            apart = _clipped(jax.tree.map(jnp.subtract, params, own), clip_norm)
            return jax.tree.map(lambda x: metrics["loss"].weight * x, apart), metrics

        apart, metrics = jax.tree.map(lambda x: x.sum(0), jax.vmap(local)(batch))
        return apart, metrics, variables

    return summed


class Controls(flax.struct.PyTreeNode):
    """The control variates of SCAFFOLD: estimates of the gradient of the whole and of each client.

    Attributes:
        server: c, like the parameters.
        clients: c_k, with a leading axis of all clients. A rule on "controls/clients" splits it over devices.
    """

    server: PyTree
    clients: PyTree


CONTROL_RULES = ((r"controls/clients", ("examples",)),)


def new_controls(params: PyTree, clients: int) -> Controls:
    """Return control variates of zeros for parameters and a number of clients."""
    zeros = jax.tree.map(jnp.zeros_like, params)
    return Controls(zeros, jax.tree.map(lambda x: jnp.zeros((clients, *x.shape), x.dtype), params))


def scaffold(
    grad: GradFn,
    rate: float,
    server: Callable[[GradFn], StepFn],
    total: Callable[[PyTree], PyTree],
    *,
    clients: int,
    parts: int = 1,
) -> StepFn:
    """Federated learning whose clients correct their drift by control variates (SCAFFOLD).

    A client descends g - c_k + c by SGD, and then c_k becomes the mean of its own gradients g over its updates (option
    II of algorithm 1 of Karimireddy et al. 2020, arXiv:1910.06378). The server averages clients, not examples, and adds
    the sum of the changes of c_k, divided by the number of all clients, to c.

    Client j of the C in a batch is one of a group of its own, and the entry "member" int32 (C,) says which: so each
    device holds the control variates of the clients that it trains, by `CONTROL_RULES`.

    Laws: with one local update of all clients, of equal sizes, it is SGD. Placements and parts change nothing but
    rounding. A client with 0 updates keeps its c_k.

    Args:
        grad: the gradient of a local batch as sums.
        rate: of the clients' SGD.
        server: makes the server's step of the summed gradient, such as `lambda grad: steps.update(grad, tx)`.
        total: `place.sum`, which adds over devices.
        clients: how many there are in all.
        parts: the clients of a device are trained in so many parts, one after another.

    Returns:
        A step of a `Joint` with the parts "server", a `TrainState`, and "controls", `Controls`.
    """
    tx = optax.sgd(rate)

    def step(state: Joint, batch: PyTree) -> tuple[Joint, Metrics]:
        trained, controls = state.parts["server"], state.parts["controls"]
        given, params, overall = _no_statistics(trained.variables), trained.params, controls.server

        def local(client: PyTree, held: PyTree) -> tuple[PyTree, Metrics, PyTree]:
            shift = jax.tree.map(jnp.subtract, overall, held)
            own, metrics = _train(update(_shifted(grad, lambda _: shift), tx), tx, params, given, client)
            apart = jax.tree.map(jnp.subtract, params, own)
            works, scale = client["updates"] > 0, 1 / (rate * jnp.maximum(client["updates"], 1))
            change = jax.tree.map(lambda c, x: jnp.where(works, scale * x - c, 0), overall, apart)
            return apart, _one_a_client(metrics), change

        held = jax.tree.map(lambda x: _of_members(x, batch["member"]), controls.clients)
        apart, metrics, change = _in_parts(jax.vmap(local), (batch, held), parts)
        *summed, moved = total(jax.tree.map(lambda x: x.sum(0), (apart, metrics, change)))
        trained, metrics = server(lambda *_: (*summed, trained.variables))(trained, batch)
        controls = Controls(
            server=jax.tree.map(lambda c, x: c + x / clients, overall, moved),
            clients=jax.tree.map(lambda x, new: _add_to_members(x, new, batch["member"]), controls.clients, change),
        )
        return state.replace(step=state.step + 1, parts={"server": trained, "controls": controls}), metrics

    return step


def _train(
    step: StepFn, tx: optax.GradientTransformation, params: PyTree, variables: PyTree, client: PyTree
) -> tuple[PyTree, Metrics]:
    """Train one client from the server's parameters, through all its local batches, and no further."""
    key = typed_keys(client["keys"])
    held = variables.get(HYPERPARAMETERS, {})
    start = new_state(params, tx, key, hyperparameters=held)

    def one(index: jax.Array, carry: Any) -> Any:
        state, sums = carry
        state, metrics = step(state, _local_batch(client, index, jax.random.fold_in(key, index)))
        return state, jax.tree.map(jnp.add, sums, _of_loss(metrics))

    shapes = jax.eval_shape(lambda: _of_loss(step(start, _local_batch(client, 0, key))[1]))
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    state, metrics = jax.lax.fori_loop(0, client["updates"], one, (start, zeros))
    return state.params, metrics


def _local_batch(client: PyTree, index: int | jax.Array, key: jax.Array) -> PyTree:
    """Return a local batch: rows of the client's examples, with a "mask" and a PRNG key for each."""
    chosen, has = client["order"][index], client["has"][index]
    mask = client.get("mask", jnp.ones((), jnp.float32))
    rows = {name: x[chosen] for name, x in client.items() if name not in (*LOOK, "mask")}
    mask = mask[chosen] if mask.ndim else mask
    keys = jax.random.key_data(jax.random.split(key, len(has)))
    return rows | {"mask": mask * has.reshape(-1, *(1,) * (mask.ndim - 1)), "keys": keys}


def _of_loss(metrics: Metrics) -> Metrics:
    """Return the metrics without those that `update` adds, which the server's update has too."""
    return {name: metric for name, metric in metrics.items() if name not in ("grad_norm", "learning_rate")}


def _one_a_client(metrics: Metrics) -> Metrics:
    """Replace the loss of a client by its mean, with a weight of 1, and 0 where it has no examples."""
    loss = metrics["loss"]
    one = (loss.weight > 0).astype(loss.weight.dtype)
    return metrics | {"loss": Mean(one * loss.total / jnp.where(loss.weight > 0, loss.weight, 1), one)}


def _shifted(grad: GradFn, shift: Callable[[PyTree], PyTree]) -> GradFn:
    """Add `shift(params)` to the mean gradient."""

    def shifted(params: PyTree, variables: PyTree, batch: PyTree, key: jax.Array) -> tuple[PyTree, Metrics, PyTree]:
        grads, metrics, variables = grad(params, variables, batch, key)
        weight = metrics["loss"].weight
        return jax.tree.map(lambda g, s: g + weight * s, grads, shift(params)), metrics, variables

    return shifted


def _near(grad: GradFn, proximal: float, centre: PyTree) -> GradFn:
    """Add the gradient of `proximal / 2 |params - centre|^2`."""
    if not proximal:
        return grad
    return _shifted(grad, lambda params: jax.tree.map(lambda w, c: proximal * (w - c), params, centre))


def _clipped(apart: PyTree, norm: float | None) -> PyTree:
    """Scale a tree down to a global L2 norm; one that is not finite becomes zeros."""
    if norm is None:
        return apart
    found = optax.tree.norm(apart)
    scale = jnp.minimum(1.0, norm / jnp.maximum(found, 1e-12))
    return jax.tree.map(lambda x: jnp.where(jnp.isfinite(found), scale * x, 0), apart)


def _no_statistics(variables: PyTree) -> PyTree:
    """Return the variables; raises BadInput for collections that a client would change, such as batch statistics."""
    changed = sorted(set(variables) - {HYPERPARAMETERS})
    if changed:
        raise BadInput(
            f"the model keeps {', '.join(changed)}, which differ between clients and cannot be averaged like weights: "
            "take group normalisation, --model.norm group"
        )
    return variables


def _in_parts(function: Callable[..., PyTree], trees: tuple[PyTree, ...], parts: int) -> PyTree:
    """Apply a function of arrays (C, ...) to one part of the clients after another; the results are in their order."""
    results = jax.lax.map(lambda piece: function(*piece), split(trees, parts))
    return jax.tree.map(lambda x: x.swapaxes(0, 1).reshape(-1, *x.shape[2:]), results)


def _of_members(x: jax.Array, member: jax.Array) -> jax.Array:
    """Return a row of each group: x (C * members, ...), member (C,) -> (C, ...)."""
    return jax.vmap(lambda rows, number: rows[number])(x.reshape(len(member), -1, *x.shape[1:]), member)


def _add_to_members(x: jax.Array, new: jax.Array, member: jax.Array) -> jax.Array:
    """Add new (C, ...) to a row of each group of x (C * members, ...)."""
    grouped = x.reshape(len(member), -1, *x.shape[1:])
    return jax.vmap(lambda rows, number, one: rows.at[number].add(one))(grouped, member, new).reshape(x.shape)
