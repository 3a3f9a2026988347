"""The optimizers: what is special about each, as optax has it. The rest is in `Spec`."""

from dataclasses import dataclass

import optax

from jaxlm.optim.spec import Spec


@dataclass(frozen=True, kw_only=True)
class Adam(Spec):
    """Adam (Kingma and Ba 2015, arXiv:1412.6980, algorithm 1); weight penalties are coupled through `l2`."""

    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8

    def direction(self) -> optax.GradientTransformation:
        """The bias-corrected mean over the root of the bias-corrected mean square."""
        return optax.scale_by_adam(self.b1, self.b2, self.eps)


@dataclass(frozen=True, kw_only=True)
class AdamW(Adam):
    """Adam with decoupled decay (Loshchilov and Hutter 2019, arXiv:1711.05101), at values usual for transformers."""

    decay: float = 0.1
    clip: float | None = 1.0
    b2: float = 0.95
