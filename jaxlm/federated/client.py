"""One client of a federated run by itself: what a machine computes that has a client's examples."""

from typing import Any

import jax
import numpy as np

from jaxlm.data.epoch import Epoch
from jaxlm.data.keys import training_keys
from jaxlm.errors import BadInput
from jaxlm.federated.config import FederatedConfig
from jaxlm.losses import IMAGE
from jaxlm.steps import GradFn, LossFn, grad, transforms
from jaxlm.steps.federated import federated


def compose_local(config: FederatedConfig) -> tuple[LossFn, GradFn]:
    """Return the loss of a batch of examples, and its gradient in training, with augmentation.

    What the server's optimizer freezes has no gradient: clients do not train it either.
    """
    data, dtype = config.data, config.run.dtype
    loss = transforms.prepare(transforms.cast(config.loss(config.model), dtype, inputs=IMAGE), data.prepare)
    loss = transforms.freeze(loss, config.optim.frozen)
    return loss, transforms.prepare(grad(loss), data.augmented)


def check_machines(config: FederatedConfig) -> None:
    """Raise BadInput for what clients on machines of their own cannot do, nor the server for them."""
    if config.local.method != "average":
        raise BadInput(f"local.method is {config.local.method}: clients on other machines keep no state, so average")
    if config.privacy is not None:
        raise BadInput("noise is added to the sum of clients in one program, not between machines: no privacy")


class Participant:
    """A client that trains where its examples are, and gives away its parameters alone.

    Law: the average of all clients' parameters, weighted by the weights that they return, is the round of
    `steps.federated.federated` with all of them, to rounding.

    Args:
        config: of the run, the same for all clients and the server.
        client: its number in the deal of `config.data`. A machine with examples of its own has a config with
            `data.clients 1`, and is client 0.

    Raises:
        BadInput: there is no such client, or the config needs a state of the client (scaffold) or noise (privacy).
    """

    def __init__(self, config: FederatedConfig, client: int):
        check_machines(config)
        self._config, self._client, self._rows = config, client, config.data.rows()
        if not 0 <= client < len(self._rows):
            raise BadInput(f"client {client} of {len(self._rows)}: number them from 0")
        local = config.local
        _, gradient = compose_local(config)
        tx = local.optim(self._rows.updates)
        rounds = federated(gradient, tx, proximal=local.proximal, weights=local.weights, clip_norm=local.clip_norm)
        self._grad = jax.jit(rounds)

    def train(self, params: Any, number: int) -> tuple[Any, float, float]:
        """Train in a round.

        Args:
            params: the server's.
            number: of the round, from 0.

        Returns:
            The client's parameters, its weight in the average (0 without examples), and its mean loss.
        """
        seeds = self._config.run.seeds
        epoch, chosen = Epoch(seeds.data, number, seeds.noise), np.array([self._client])
        batch = self._rows.take(chosen, epoch) | {"keys": training_keys(epoch, len(self._rows))[chosen]}
        apart, metrics, _ = self._grad(params, {}, batch, jax.random.key(0))
        weight = float(metrics["loss"].weight)
        scale = 1 / (weight or 1)
        return jax.tree.map(lambda w, x: w - scale * x, params, apart), weight, float(metrics["loss"].total) * scale
