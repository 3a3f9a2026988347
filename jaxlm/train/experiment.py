"""What an experiment file's `build(config, place)` returns: the pure functions that a run is made of."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax

from jaxlm.parallel import Placement
from jaxlm.steps import EvalFn, StepFn
from jaxlm.train.start import Start


@dataclass(frozen=True)
class Experiment:
    """A run, composed and not started.

    init: key -> state.    step, evaluate: see `jaxlm.steps`.
    train_data: batch i feeds update i -> i + 1.    eval_data: finite; covers every example once.
    units: what one batch holds in the unit that throughput is told in, e.g. (4096, "tokens").
    flops: floating-point operations of one update, for the utilisation of chips whose peak is known.
    learning_rate: update count -> learning rate, for telling how a changed length moves the curve.
    hyperparameters: name -> value of those that the state holds beside the optimizer's (see `train.hyperparameters`),
      which is given them after `init`; runs that differ in these, and in `peak` and `decay`, can share a program.
    start: what is taken over from another run before the first update.
    notes: lines told at the start of a session, such as what of the data was cut, or the share that is trained.
    preview: state -> text shown at the end of a run.
    artefacts: file name -> text kept beside the run, such as the tokenizer.
    """

    init: Callable[[jax.Array], Any]
    step: StepFn
    evaluate: EvalFn
    train_data: Any
    eval_data: Any
    units: tuple[int, str] | None = None
    flops: float | None = None
    learning_rate: Callable[[int], Any] | None = None
    hyperparameters: Mapping[str, float] = field(default_factory=dict)
    start: Start = field(default_factory=Start)
    notes: Sequence[str] = ()
    preview: Callable[[Any], str] | None = None
    artefacts: Mapping[str, str] = field(default_factory=dict)


Build = Callable[[Any, Placement], Experiment]
