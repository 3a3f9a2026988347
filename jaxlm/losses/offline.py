"""Learn to act from recorded transitions alone: behaviour cloning, and conservative Q-learning.

Shapes: B transitions, A actions.
"""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from jaxlm.errors import BadInput
from jaxlm.losses.next_token import cross_entropy
from jaxlm.losses.q_learning import temporal_difference
from jaxlm.steps import LossFn, Mean, Metrics, Model, PyTree


@dataclass(frozen=True)
class BehaviourCloning:
    """Spec: predict the recorded action; call it with a model whose outputs are logits of actions.

    The batch has "observation" float32 (B, ...) and "action" int32 (B,). Metrics are "loss" and "accuracy".
    """

    needs_target = False

    def __call__(self, model: Model) -> LossFn:
        """Return the cross entropy of the actions, in nats."""

        def loss(
            params: PyTree, variables: PyTree, batch: PyTree, key: jax.Array, *, train: bool
        ) -> tuple[Metrics, PyTree]:
            del key, train
            logits_BA = model.apply({"params": params}, batch["observation"])
            nats_BT, right_BT = cross_entropy(logits_BA[:, None], batch["action"][:, None])
            ones_BT = jnp.ones_like(nats_BT)
            return {
                "loss": Mean.from_values(nats_BT, ones_BT),
                "accuracy": Mean.from_values(right_BT, ones_BT),
            }, variables

        return loss


@dataclass(frozen=True, kw_only=True)
class CQL:
    """Spec of conservative Q-learning for actions to choose from (Kumar et al. 2020, arXiv:2006.04779, equation 4).

    The loss of a transition is half its squared temporal difference plus
    `alpha` (log sum_a exp Q(s, a) - Q(s, recorded action)), which holds the values of actions down that were not taken.
    The batch has "observation", "action", "reward", "terminated" and "next_observation"; the target net's parameters
    are `variables["target"]`. Metrics are "loss", "difference" and "gap", what `alpha` multiplies.

    Attributes:
        discount: of the reward of each further step.
        double: see `DQN`.
        alpha: strength of the penalty; 0 is Q-learning.
    """

    discount: float = 0.99
    double: bool = True
    alpha: float = 1.0

    needs_target = True

    def __post_init__(self) -> None:
        if not (0 <= self.discount <= 1 and 0 <= self.alpha < math.inf):
            raise BadInput(f"loss is {self}: discount is a share from 0 to 1, alpha a finite number of at least 0")

    def __call__(self, model: Model) -> LossFn:
        """Return the loss of a model whose outputs are values of actions."""
        difference = temporal_difference(model, self.double)

        def loss(
            params: PyTree, variables: PyTree, batch: PyTree, key: jax.Array, *, train: bool
        ) -> tuple[Metrics, PyTree]:
            del key, train
            goes_on_B = jnp.where(batch["terminated"], 0.0, self.discount)
            difference_B = difference(
                params, variables["target"], batch | {"return": batch["reward"], "bootstrap": goes_on_B}
            )
            values_BA = model.apply({"params": params}, batch["observation"])
            taken_B = jnp.take_along_axis(values_BA, batch["action"][:, None], 1)[:, 0]
            gap_B = jax.nn.logsumexp(values_BA, axis=1) - taken_B
            found = {"loss": 0.5 * difference_B**2 + self.alpha * gap_B, "gap": gap_B}
            found["difference"] = jnp.abs(difference_B)
            return {name: Mean.from_values(x_B, jnp.ones_like(x_B)) for name, x_B in found.items()}, variables

        return loss
