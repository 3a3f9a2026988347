"""The config of a federated run: that of any run, and what a client does in a round."""

from dataclasses import dataclass, field
from typing import Any, Literal

from jaxlm.errors import BadInput
from jaxlm.optim import SGD
from jaxlm.privacy import Privacy
from jaxlm.train import Config


@dataclass(frozen=True, kw_only=True)
class LocalTraining:
    """How a client trains in a round.

    Attributes:
        optim: its optimizer, whose state is new in each round; a schedule is over the updates of a round.
        method: "average" is federated averaging; "scaffold" corrects the drift of clients by control variates.
        proximal: mu of FedProx.
        weights: the server's average is weighted by the examples of a client, or each client counts as one.
        clip_norm: the largest norm of what a client changes; None is off.
    """

    optim: Any = field(default_factory=lambda: SGD(peak_lr=0.1, schedule="constant"))
    method: Literal["average", "scaffold"] = "average"
    proximal: float = 0.0
    weights: Literal["examples", "clients"] = "examples"
    clip_norm: float | None = None

    def validate(self, grouped: bool, privacy: Privacy | None = None) -> None:
        """Check that the fields go together.

        Args:
            grouped: whether the data draw each client of a round from a group of its own.
            privacy: of the clients, or None.

        Raises:
            BadInput: they do not.
        """
        if self.proximal < 0:
            raise BadInput(f"local.proximal is {self.proximal}: give 0 or more")
        if self.clip_norm is not None and self.clip_norm <= 0:
            raise BadInput(f"local.clip_norm is {self.clip_norm}: give a number above 0, or None")
        if privacy is not None:
            self._validate_private(grouped, privacy)
        if self.method != "scaffold":
            return
        if self.optim != SGD(peak_lr=self.optim.peak_lr, schedule="constant"):
            raise BadInput("scaffold needs clients with plain SGD at a constant rate: leave local.optim at that")
        if self.proximal or self.clip_norm or self.weights != "clients":
            raise BadInput("scaffold averages clients, without proximal or clip_norm: set --local.weights clients")
        if not grouped:
            raise BadInput("scaffold needs each client of a round to be of its own group: set --data.grouped")

    def _validate_private(self, grouped: bool, privacy: Privacy) -> None:
        if self.method != "average" or self.weights != "clients" or grouped:
            raise BadInput(
                "privacy of clients needs that each counts as one and keeps no state: set --local.method average "
                "--local.weights clients, without --data.grouped"
            )
        if self.clip_norm is not None:
            raise BadInput("privacy.clip_norm bounds what a client changes: leave out local.clip_norm")
        if privacy.copies != 1 or privacy.norms != "each":
            raise BadInput("privacy.copies and privacy.norms are for private examples, not for clients: leave them out")


@dataclass(frozen=True)
class FederatedConfig(Config):
    """What a federated run is built from: `optim` is the server's, `data` are `jaxlm.data.clients.Clients`.

    `privacy` is of whole clients: their number is the number of examples, and a round is a Poisson sample of them.

    Attributes:
        local: what a client does.
    """

    local: LocalTraining = field(default_factory=LocalTraining)
