"""Losses of models that rank items for users, from implicit feedback.

Shapes: B rows, S items that the user of a row has met, K items that it has not, I items in all.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp

from jaxlm.errors import BadInput
from jaxlm.losses.next_token import cross_entropy
from jaxlm.steps import LossFn, Mean, Metrics, Model, PyTree

WHOLE = ("softmax", "squared")  # objectives over the whole catalogue
Objective = Literal["logistic", "bpr", "sampled_softmax", "softmax", "squared"]


@dataclass(frozen=True)
class Recommendation:
    """Spec of a loss of the scores of items; call it with a model to get the loss (see `recommendation`).

    Attributes:
        objective: which loss.
        unobserved: weight of every item, met or not, in the squared loss.
    """

    objective: Objective = "logistic"
    unobserved: float = 0.1

    hyperparameters: ClassVar[tuple[str, ...]] = ("unobserved",)

    def __call__(self, model: Model) -> LossFn:
        """Return the loss of a model."""
        return recommendation(model, self.objective, self.unobserved)

    def check(self, data: Any) -> None:
        """Raise BadInput where the rows do not have what the objective compares.

        Args:
            data: a spec of `jaxlm.data.interactions`.
        """
        if self.objective not in WHOLE and (data.rows != "pairs" or not data.negatives):
            raise BadInput(
                f"loss.objective {self.objective} compares with drawn items: set --data.rows pairs and --data.negatives"
            )


def recommendation(model: Model, objective: Objective, unobserved: float | jax.Array = 0.1) -> LossFn:
    """Loss of the scores of items, summed over the items that users have met.

    With s the score of an item that was met and n_k those of drawn ones:

        logistic          log(1 + exp(-s)) + sum_k log(1 + exp(n_k))     He et al. 2017, arXiv:1708.05031, eq. 7
        bpr               mean_k log(1 + exp(n_k - s))                   Rendle et al. 2009, arXiv:1205.2618, 4.1
        sampled_softmax   log(exp(s) + sum_k exp(n_k)) - s
        softmax           log(sum over all items of exp) - s             Liang et al. 2018, arXiv:1802.05814, eq. 2
        squared           (s - 1)^2 + unobserved * (sum over all items of squares) / items met
                          Hu et al. 2008 as in Rendle et al. 2022, arXiv:2110.14037, eq. 3

    The batch has "user" int32 (B,), "positives" int32 (B, S) with -1 to fill a row up, for the first three objectives
    "negatives" int32 (B, K), and optional "mask" float32 (B,). For the last two a row should have all items of its
    user, since all of the catalogue is scored for each row. The metric is "loss", per item that was met.

    Args:
        model: its `apply` takes users (B,) and items (B, N), and returns their scores (B, N); without items, those of
            all, (B, I).
        objective: which loss.
        unobserved: weight in the squared loss; an array may be traced.

    Raises:
        BadInput: the model takes what users have met, and drawn items would be scored from a row of one of them.
    """
    if "seen" in model_inputs(model) and objective not in WHOLE:
        raise BadInput(
            f"the model {type(model).__name__} reads what users have met, which is whole in rows of users: set "
            "--data.rows users and --loss.objective softmax or squared"
        )

    def loss(
        params: PyTree, variables: PyTree, batch: PyTree, key: jax.Array, *, train: bool
    ) -> tuple[Metrics, PyTree]:
        given = {"params": params, **variables}
        options: dict[str, Any] = {"train": train, "rngs": {"dropout": key} if train else None}
        met_BS = batch["positives"]
        weights_BS = (met_BS >= 0) * batch.get("mask", jnp.ones(len(met_BS), jnp.float32))[:, None]
        met_BS = jnp.maximum(met_BS, 0)
        if objective in WHOLE:
            history = {"seen": batch["positives"]} if "seen" in model_inputs(model) else {}
            scores_BI = model.apply(given, batch["user"], **history, **options).astype(jnp.float32)
            scores_BS = jnp.take_along_axis(scores_BI, met_BS, 1)
            if objective == "softmax":
                nats_BS = jax.nn.logsumexp(scores_BI, axis=1, keepdims=True) - scores_BS
            else:
                counts_B1 = jnp.maximum((weights_BS > 0).sum(1, keepdims=True), 1)
                squares_B1 = jnp.square(scores_BI).sum(1, keepdims=True)
                nats_BS = jnp.square(scores_BS - 1) + unobserved * squares_B1 / counts_B1
        else:
            items_BN = jnp.concatenate([met_BS, batch["negatives"]], 1)
            scores_BN = model.apply(given, batch["user"], items_BN, **options).astype(jnp.float32)
            nats_BS = _sampled(objective, *jnp.split(scores_BN, [met_BS.shape[1]], 1))
        return {"loss": Mean.from_values(nats_BS, weights_BS)}, variables

    return loss


def _sampled(objective: Objective, scores_BS: jax.Array, others_BK: jax.Array) -> jax.Array:
    """Return the loss of each item that was met, against those drawn for its row."""
    if objective == "logistic":
        return jax.nn.softplus(-scores_BS) + jax.nn.softplus(others_BK).sum(1, keepdims=True)
    if objective == "bpr":
        return jax.nn.softplus(others_BK[:, None] - scores_BS[..., None]).mean(-1)
    others_B1 = jax.nn.logsumexp(others_BK, axis=1, keepdims=True)
    return jnp.logaddexp(scores_BS, others_B1) - scores_BS


def model_inputs(model: Model) -> tuple[str, ...]:
    """Return the entries of a batch that a model takes beside items: its `inputs`, else the user."""
    return getattr(model, "inputs", ("user",))


@dataclass(frozen=True)
class NextItem:
    """Spec of the loss of each item from those before it, for rows of users; call it with a model (see `next_item`)."""

    def __call__(self, model: Model) -> LossFn:
        """Return the loss of a model."""
        return next_item(model)

    def check(self, data: Any) -> None:
        """Raise BadInput where rows are not those of users.

        Args:
            data: a spec of `jaxlm.data.interactions`.
        """
        if data.rows != "users":
            raise BadInput("the loss of the next item reads all items of a user: set --data.rows users")


def next_item(model: Model) -> LossFn:
    """Cross entropy over all items of each next one in the order of a user's items, in nats.

    The batch has "positives" int32 (B, S) in their order, with -1 to fill a row up, and optional "mask" float32 (B,).
    The metrics are "loss" (nats per item) and "accuracy". (Kang and McAuley 2018 draw one item to compare with;
    the softmax over all is better, Klenitskiy and Vasilev 2023, arXiv:2309.07602.)

    Args:
        model: its `apply` takes users (B,) and "seen" items (B, S), and with `every` returns the scores of what comes
            next, (B, T, I), for the last T of them.
    """

    def loss(
        params: PyTree, variables: PyTree, batch: PyTree, key: jax.Array, *, train: bool
    ) -> tuple[Metrics, PyTree]:
        items_BS = batch["positives"]
        counts_B1 = (items_BS >= 0).sum(1, keepdims=True)
        before_BS = jnp.where(jnp.arange(items_BS.shape[1])[None] < counts_B1 - 1, items_BS, -1)
        options: dict[str, Any] = {"train": train, "rngs": {"dropout": key} if train else None}
        given = {"params": params, **variables}
        scores_BTI = model.apply(given, batch["user"], seen=before_BS, every=True, **options)
        length = scores_BTI.shape[1]
        first_B1 = jnp.maximum(counts_B1 - 1 - length, 0) + 1  # the place of the first target
        places_BT = first_B1 + jnp.arange(length)[None]
        targets_BT = jnp.take_along_axis(items_BS, jnp.minimum(places_BT, items_BS.shape[1] - 1), 1)
        mask_B = batch.get("mask", jnp.ones(len(items_BS), jnp.float32))
        weights_BT = (places_BT < counts_B1) * mask_B[:, None]
        nats_BT, correct_BT = cross_entropy(scores_BTI, targets_BT)
        return {
            "loss": Mean.from_values(nats_BT, weights_BT),
            "accuracy": Mean.from_values(correct_BT, weights_BT),
        }, variables

    return loss
