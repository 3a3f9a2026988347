"""The optimizers: what is special about each, as optax has it. What they share is in `Spec`."""

import re
from dataclasses import dataclass

import jax
import optax
import optax.contrib

from jaxlm.optim.groups import path_of, require, require_pattern
from jaxlm.optim.spec import Spec


@dataclass(frozen=True, kw_only=True)
class SGD(Spec):
    """Gradient descent with momentum: v <- momentum v + g (Sutskever et al. 2013, without its rate inside v)."""

    peak: float = 0.1
    momentum: float = 0.0  # 0 is off and keeps no state
    nesterov: bool = False  # look ahead: descend g + momentum v

    def direction(self) -> optax.GradientTransformation:
        """The velocity, or g + momentum v with nesterov."""
        return optax.trace(self.momentum, self.nesterov) if self.momentum else optax.identity()

    def validate(self, steps: int) -> None:
        """As every spec; and nesterov needs a momentum."""
        super().validate(steps)
        require(not self.nesterov or self.momentum > 0, "nesterov needs a momentum above 0")


@dataclass(frozen=True, kw_only=True)
class RMSProp(Spec):
    """The gradient over the root of its mean square (Tieleman and Hinton 2012, lecture 6e), then momentum."""

    b2: float = 0.9  # how slowly the mean square forgets
    eps: float = 1e-8  # added to the root
    momentum: float = 0.0  # 0 is off and keeps no state

    def direction(self) -> optax.GradientTransformation:
        """Descend g / (sqrt(s) + eps) with s <- b2 s + (1 - b2) g^2, not bias-corrected, through the momentum."""
        scaled = optax.scale_by_rms(self.b2, self.eps, eps_in_sqrt=False)
        return optax.chain(scaled, optax.trace(self.momentum)) if self.momentum else scaled


@dataclass(frozen=True, kw_only=True)
class Adam(Spec):
    """Adam (Kingma and Ba 2015, arXiv:1412.6980, algorithm 1); its usual weight decay is the coupled `l2`."""

    b1: float = 0.9  # how slowly the mean forgets
    b2: float = 0.999  # how slowly the mean square forgets
    eps: float = 1e-8  # added to the root

    def direction(self) -> optax.GradientTransformation:
        """The bias-corrected mean over the root of the bias-corrected mean square."""
        return optax.scale_by_adam(self.b1, self.b2, self.eps)


@dataclass(frozen=True, kw_only=True)
class AdamW(Adam):
    """Adam with decoupled decay (Loshchilov and Hutter 2019, arXiv:1711.05101), at values usual for transformers."""

    b2: float = 0.95
    decay: float = 0.1
    clip: float | None = 1.0


@dataclass(frozen=True, kw_only=True)
class Lion(Spec):
    """The sign of an interpolated momentum (Chen et al. 2023, arXiv:2302.06675, algorithm 2).

    Its peak is usually 3 to 10 times smaller than AdamW's, and its decay as many times larger.
    """

    peak: float = 1e-4
    decay: float = 1.0
    clip: float | None = 1.0
    b1: float = 0.9  # weight of the momentum within the sign
    b2: float = 0.99  # how slowly the momentum forgets

    def direction(self) -> optax.GradientTransformation:
        """sign(b1 m + (1 - b1) g), then m <- b2 m + (1 - b2) g."""
        return optax.scale_by_lion(self.b1, self.b2)


@dataclass(frozen=True, kw_only=True)
class Adafactor(Spec):
    """Adam's scaling with the mean squares kept as row and column means (Shazeer and Stern 2018, arXiv:1804.04235).

    Algorithm 4 without the relative step size: the rate is the schedule's. The decay is the decoupled one that every
    spec has, so it is multiplied by the rate (optax's own adafactor does not do that).
    `block_clip` and `by_scale` act on whole parameters, so layers stacked for a scan share them: not the same numbers
    as layers apart.
    """

    peak: float = 1e-2
    forgetting: float = 0.8  # the mean square at update t keeps 1 - t^-forgetting of itself
    factor_from: int = 128  # matrices are factored if their two largest axes have at least this size
    block_clip: float = 1.0  # the largest root mean square of one parameter's direction
    by_scale: bool = True  # multiply by the root mean square of the parameter (at least 1e-3)
    momentum: float = 0.0  # running mean of the direction; 0 is off and keeps no state

    def direction(self) -> optax.GradientTransformation:
        """The gradient over the root of the factored mean square, clipped by parameter, times the parameter's scale."""
        factored = optax.scale_by_factored_rms(decay_rate=self.forgetting, min_dim_size_to_factor=self.factor_from)
        scale = (optax.scale_by_param_block_rms(),) if self.by_scale else ()
        mean = (optax.ema(self.momentum, debias=False),) if self.momentum else ()
        return optax.chain(factored, optax.clip_by_block_rms(self.block_clip), *scale, *mean)

    def validate(self, steps: int) -> None:
        """As every spec; and the numbers of its own must be positive."""
        super().validate(steps)
        for name in ("forgetting", "factor_from", "block_clip"):
            require(getattr(self, name) > 0, f"{name} is {getattr(self, name)}: it must be above 0")


@dataclass(frozen=True, kw_only=True)
class Muon(Spec):
    """Orthogonalised momentum for hidden matrices, Adam for the rest (Jordan 2024; Liu et al. 2025, arXiv:2502.16982).

    A hidden matrix is a parameter with exactly two axes whose path `by_adam` is not found in; where `stacked` is found,
    the first axis counts layers that are scanned and is not one of the two. So embeddings, output heads, biases and
    scales go to Adam by name; vectors, convolutions and kernels split into heads go by their number of axes. With
    `consistent_rms` of 0.2 the directions of both parts have the size of AdamW's, and one peak and decay serve both;
    None gives sqrt(max(1, columns / rows)) of the first source. (optax.contrib.muon would train the rest with
    Nesterov's variant of Adam; here it is Adam itself.)
    """

    decay: float = 0.1
    clip: float | None = 1.0
    momentum: float = 0.95
    nesterov: bool = True
    consistent_rms: float | None = 0.2  # the root mean square of a matrix's direction
    by_adam: str = r"embed|position|(^|/)(head|lm_head|logits|bias|scale)(/|$)"  # found in paths: Adam's
    stacked: str = r"(^|/)blocks/"  # found in paths: the first axis counts layers
    b1: float = 0.9  # Adam's part
    b2: float = 0.95  # Adam's part
    eps: float = 1e-8

    def direction(self) -> optax.GradientTransformation:
        """Five Newton-Schulz iterations on the momentum of the matrices; Adam's direction for the rest."""
        axes = optax.contrib.MuonDimensionNumbers(reduction_axis=-2, output_axis=-1)
        orthogonal = optax.contrib.scale_by_muon(
            beta=self.momentum,
            eps=self.eps,
            nesterov=self.nesterov,
            weight_dimension_numbers=lambda matrices: jax.tree.map(lambda _: axes, matrices),
        )
        sized = optax.stateless(lambda matrices, _: jax.tree.map(self._resize, matrices))
        return optax.partition(
            {"muon": optax.chain(orthogonal, sized), "adam": optax.scale_by_adam(self.b1, self.b2, self.eps)},
            lambda params: jax.tree_util.tree_map_with_path(self._label, params),
        )

    def validate(self, steps: int) -> None:
        """As every spec; and the patterns must be regular expressions."""
        super().validate(steps)
        for name in ("by_adam", "stacked"):
            require_pattern(getattr(self, name), name)
        rms = self.consistent_rms
        require(rms is None or 0 < rms < float("inf"), f"consistent_rms is {rms}: it must be above 0, or None")

    def _label(self, key_path: tuple[object, ...], parameter: jax.Array) -> str:
        path = path_of(key_path)
        axes = len(parameter.shape) - (re.search(self.stacked, path) is not None)
        return "muon" if axes == 2 and not re.search(self.by_adam, path) else "adam"

    def _resize(self, matrix: jax.Array) -> jax.Array:
        rows, columns = matrix.shape[-2:]
        if self.consistent_rms is None:
            return matrix * max(1.0, columns / rows) ** 0.5
        return matrix * self.consistent_rms * max(rows, columns) ** 0.5
