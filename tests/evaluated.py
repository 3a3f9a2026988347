"""The logits that an evaluation of a run computes, taken from inside its own compiled program."""

import dataclasses

import jax
import numpy as np
import pytest

from jaxlm.predict import answer_all
from jaxlm.predict.load import load_run
from jaxlm.train.recorder import Recorder


def evaluated_logits(run, step):
    """Yield the logits, float32, of each real row of the evaluation data, in the evaluation's order."""
    recorder = Recorder.existing(run)
    evaluation, state = recorder.experiment.evaluations["eval"], recorder.restore(step)
    kind, seen = type(recorder.config.model), []
    original = kind.apply

    def apply(self, *args, **options):
        seen.append(original(self, *args, **options))
        return seen[-1]

    def both(state, batch):
        metrics = evaluation.outputs(state, batch)
        return metrics, seen[-1].astype(np.float32)

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(kind, "apply", apply)
        program = jax.jit(both)
        for index in range(len(evaluation.data)):
            batch = evaluation.data[index]
            _, logits = program(state, recorder.place.put(batch))
            real = batch["mask"] > 0
            yield from np.asarray(logits)[real if real.ndim == 1 else real.any(1)]


def predicted_logits(run, inputs, step=None):
    """The logits, float32, of the first row of each raw input, as the run's predictor computes them."""
    loaded = load_run(run, step)
    predictor = dataclasses.replace(loaded.predictor, postprocess=lambda outputs, context: outputs[0]["logits"])
    return list(answer_all(predictor, loaded.variables, inputs))
