"""The optimizers as optax has them; the parts that all share are in `Spec`."""

import re
from dataclasses import dataclass

import jax
import optax
import optax.contrib

from jaxlm.optim.groups import path_of, require, require_pattern
from jaxlm.optim.spec import Spec


@dataclass(frozen=True, kw_only=True)
class SGD(Spec):
    """Gradient descent with momentum: v <- momentum v + g (Sutskever et al. 2013, without the learning rate inside v).

    Attributes:
        momentum: decay of the velocity; 0 is off and keeps no state.
        nesterov: descend g + momentum v.
    """

    peak_lr: float = 0.1
    momentum: float = 0.0
    nesterov: bool = False

    def direction(self) -> optax.GradientTransformation:
        """Return the velocity v, or g + momentum v with nesterov."""
        return optax.trace(self.momentum, self.nesterov) if self.momentum else optax.identity()

    def validate(self, steps: int) -> None:
        """Check the fields as every spec does; nesterov needs a momentum."""
        super().validate(steps)
        require(not self.nesterov or self.momentum > 0, "nesterov needs a momentum above 0")


@dataclass(frozen=True, kw_only=True)
class RMSProp(Spec):
    """RMSProp: the gradient over the root of its mean square (Tieleman and Hinton 2012, lecture 6e), then momentum.

    Attributes:
        b2: decay of the mean square.
        eps: added to the root.
        momentum: decay of the velocity; 0 is off and keeps no state.
    """

    b2: float = 0.9
    eps: float = 1e-8
    momentum: float = 0.0

    def direction(self) -> optax.GradientTransformation:
        """Return g / (sqrt(s) + eps) with s <- b2 s + (1 - b2) g^2, without bias correction, then momentum."""
        scaled = optax.scale_by_rms(self.b2, self.eps, eps_in_sqrt=False)
        return optax.chain(scaled, optax.trace(self.momentum)) if self.momentum else scaled


@dataclass(frozen=True, kw_only=True)
class Adam(Spec):
    """Adam (Kingma and Ba 2015, arXiv:1412.6980, algorithm 1); its usual weight decay is the coupled `l2`.

    Attributes:
        b1: decay of the mean.
        b2: decay of the mean square.
        eps: added to the root.
    """

    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8

    def direction(self) -> optax.GradientTransformation:
        """Return the bias-corrected mean over the root of the bias-corrected mean square."""
        return optax.scale_by_adam(self.b1, self.b2, self.eps)


@dataclass(frozen=True, kw_only=True)
class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019, arXiv:1711.05101); defaults for transformers."""

    b2: float = 0.95
    weight_decay: float = 0.1
    clip_norm: float | None = 1.0


@dataclass(frozen=True, kw_only=True)
class Lion(Spec):
    """Lion: the sign of an interpolated momentum (Chen et al. 2023, arXiv:2302.06675, algorithm 2).

    Its peak learning rate is usually 3 to 10 times smaller than AdamW's, and its weight decay larger by the same
    factor.

    Attributes:
        b1: weight of the momentum within the sign.
        b2: decay of the momentum.
    """

    peak_lr: float = 1e-4
    weight_decay: float = 1.0
    clip_norm: float | None = 1.0
    b1: float = 0.9
    b2: float = 0.99

    def direction(self) -> optax.GradientTransformation:
        """Return sign(b1 m + (1 - b1) g), then update m <- b2 m + (1 - b2) g."""
        return optax.scale_by_lion(self.b1, self.b2)


@dataclass(frozen=True, kw_only=True)
class Adafactor(Spec):
    """Adafactor: Adam's scaling with mean squares kept as row and column means.

    Shazeer and Stern 2018, arXiv:1804.04235, algorithm 4 without the relative step size: the learning rate is the
    schedule's. The decay is the decoupled one of every spec, so it is multiplied by the learning rate, unlike in
    optax's own adafactor. `block_clip` and `by_scale` act on whole parameters. Layers stacked for a scan share them, so
    their numbers differ from those of separate layers.

    Attributes:
        forgetting: the mean square at update t keeps 1 - t^-forgetting of itself.
        factor_from: factor a matrix if its two largest axes have at least this size.
        block_clip: the largest root mean square of one parameter's direction.
        by_scale: multiply by the root mean square of the parameter (at least 1e-3).
        momentum: decay of a running mean of the direction; 0 is off and keeps no state.
    """

    peak_lr: float = 1e-2
    forgetting: float = 0.8
    factor_from: int = 128
    block_clip: float = 1.0
    by_scale: bool = True
    momentum: float = 0.0

    def direction(self) -> optax.GradientTransformation:
        """Return the gradient over the root of the factored mean square, clipped and scaled for each parameter."""
        factored = optax.scale_by_factored_rms(decay_rate=self.forgetting, min_dim_size_to_factor=self.factor_from)
        scale = (optax.scale_by_param_block_rms(),) if self.by_scale else ()
        mean = (optax.ema(self.momentum, debias=False),) if self.momentum else ()
        return optax.chain(factored, optax.clip_by_block_rms(self.block_clip), *scale, *mean)

    def validate(self, steps: int) -> None:
        """Check the fields as every spec does; Adafactor's own numbers must be positive."""
        super().validate(steps)
        for name in ("forgetting", "factor_from", "block_clip"):
            require(getattr(self, name) > 0, f"{name} is {getattr(self, name)}: it must be above 0")


@dataclass(frozen=True, kw_only=True)
class Muon(Spec):
    """Muon: orthogonalised momentum for hidden matrices, Adam for the rest.

    Jordan 2024; Liu et al. 2025, arXiv:2502.16982: m <- momentum m + g, and the direction is g + momentum m (Nesterov)
    or m, with its singular values near 1. A hidden matrix is a parameter with exactly two axes whose path does
    not match `by_adam`. Where `stacked` matches, the first axis counts the layers of a scan and is not one of the two.
    So embeddings, output heads, biases and scales use Adam because of their names; vectors, convolutions and kernels
    split into heads because of their number of axes. (optax.contrib.muon
    differs: it corrects the biases of m and g apart, which weighs them otherwise in the first updates, and trains the
    rest with Nesterov's variant of Adam.)

    Attributes:
        momentum: decay of the momentum of matrices.
        nesterov: orthogonalise g + momentum m instead of m.
        consistent_rms: root mean square of a matrix's direction. With 0.2 both parts have the size of AdamW's updates,
            and one peak and decay serve both. None: sqrt(max(1, columns / rows)) of the first source.
        by_adam: regular expression for the paths of parameters that use Adam.
        stacked: regular expression for the paths of parameters whose first axis counts layers.
        b1: decay of Adam's mean.
        b2: decay of Adam's mean square.
        eps: added to the root, and to the norm of a matrix.
    """

    weight_decay: float = 0.1
    clip_norm: float | None = 1.0
    momentum: float = 0.95
    nesterov: bool = True
    consistent_rms: float | None = 0.2
    by_adam: str = r"embed|position|(^|/)(head|lm_head|logits|bias|scale)(/|$)"
    stacked: str = r"(^|/)blocks/"
    b1: float = 0.9
    b2: float = 0.95
    eps: float = 1e-8

    def direction(self) -> optax.GradientTransformation:
        """Return five Newton-Schulz iterations on the momentum of the matrices, and Adam's direction for the rest."""
        orthogonal = optax.stateless(lambda matrices, _: jax.tree.map(self._resize, self._orthogonalise(matrices)))
        muon = optax.chain(optax.trace(self.momentum, self.nesterov), orthogonal)
        return optax.partition(
            {"muon": muon, "adam": optax.scale_by_adam(self.b1, self.b2, self.eps)},
            lambda params: jax.tree_util.tree_map_with_path(self._label, params),
        )

    def validate(self, steps: int) -> None:
        """Check the fields as every spec does; the patterns must be valid regular expressions."""
        super().validate(steps)
        for name in ("by_adam", "stacked"):
            require_pattern(getattr(self, name), name)
        rms = self.consistent_rms
        require(rms is None or 0 < rms < float("inf"), f"consistent_rms is {rms}: it must be above 0, or None")

    def _label(self, key_path: tuple[object, ...], parameter: jax.Array) -> str:
        path = path_of(key_path)
        axes = len(parameter.shape) - (re.search(self.stacked, path) is not None)
        return "muon" if axes == 2 and not re.search(self.by_adam, path) else "adam"

    def _orthogonalise(self, matrices: optax.Updates) -> optax.Updates:
        axes = optax.contrib.MuonDimensionNumbers(reduction_axis=-2, output_axis=-1)
        newton_schulz = optax.contrib.scale_by_muon(
            beta=0.0,  # no momentum of its own
            eps=self.eps,
            nesterov=False,
            weight_dimension_numbers=lambda matrices: jax.tree.map(lambda _: axes, matrices),
        )
        return newton_schulz.update(matrices, newton_schulz.init(matrices))[0]

    def _resize(self, matrix: jax.Array) -> jax.Array:
        rows, columns = matrix.shape[-2:]
        if self.consistent_rms is None:
            return matrix * max(1.0, columns / rows) ** 0.5
        return matrix * self.consistent_rms * max(rows, columns) ** 0.5
