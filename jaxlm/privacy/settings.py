"""Settings of differential privacy, as a config has them."""

import math
from dataclasses import dataclass
from typing import Literal

from jaxlm.errors import BadInput

LEAST_NOISE = 0.2  # noise multiplier; with less, epsilon is beyond what means anything, and takes long to compute

AccountantName = Literal["pld", "rdp"]


@dataclass(frozen=True)
class Privacy:
    """Differential privacy of the training examples by DP-SGD (Abadi et al. 2016, arXiv:1607.00133).

    The parameters of the run are (epsilon, delta)-private towards adding or removing one example, `data.batch` is the
    expected size of a batch, and each example is in a batch with the probability `data.batch` / examples. What the run
    writes besides its checkpoints, such as the loss of training, is not private.

    Attributes:
        epsilon: the most that the whole run may spend.
        delta: the probability with which the guarantee may fail; below 1 / examples.
        clip_norm: the L2 norm to which the gradient of each example is scaled down.
        noise_multiplier: standard deviation of the noise on the summed gradient, in units of `clip_norm`; None: the
            least that keeps to `epsilon` over `run.steps`.
        accountant: what adds up the updates: "pld", privacy loss distributions (Koskela et al. 2020, arXiv:1906.03049;
            Doroshenko et al. 2022, arXiv:2207.04380), or "rdp", Rényi differential privacy (Mironov et al. 2019,
            arXiv:1908.10530), whose epsilon is larger.
        norms: how the gradients of examples are measured. "each" computes every one; "ghost" leaves out those of large
            matrices, which takes less memory and time for wide layers (`jaxlm.privacy.ghost`).
        copies: augmented copies of an example in its gradient (De et al. 2022, arXiv:2204.13650, section 3.2).
    """

    epsilon: float | None = None
    delta: float = 1e-5
    clip_norm: float = 1.0
    noise_multiplier: float | None = None
    accountant: AccountantName = "pld"
    norms: Literal["each", "ghost"] = "each"
    copies: int = 1

    def validate(self) -> None:
        """Check the numbers.

        Raises:
            BadInput: one that cannot be, with the field and what it must be.
        """
        if self.epsilon is None and self.noise_multiplier is None:
            raise BadInput("privacy.epsilon is not set: give --privacy.epsilon, such as 3, or a noise multiplier")
        if not 0 < self.delta < 1:
            raise BadInput(f"privacy.delta is {self.delta}: give a probability between 0 and 1, such as 1e-5")
        for name in ("epsilon", "clip_norm", "noise_multiplier"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise BadInput(f"privacy.{name} is {value}: give a finite number above 0")
        if self.noise_multiplier is not None and self.noise_multiplier < LEAST_NOISE:
            raise BadInput(
                f"privacy.noise_multiplier is {self.noise_multiplier}, which hides nobody: give at least {LEAST_NOISE}"
            )
        if self.copies < 1:
            raise BadInput(f"privacy.copies is {self.copies}: give at least 1")
