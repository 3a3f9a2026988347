"""`jaxlm compress`: a smaller model of a run, measured beside it on the same data."""

import argparse
import dataclasses
from pathlib import Path

from jaxlm.runs.directory import RunDirectory
from jaxlm.runs.files import whole_folder
from jaxlm.runs.settings import Run
from jaxlm.runs.weights import open_checkpoints


def compress(words: argparse.Namespace) -> int:
    """Write an artefact of a run with weights in 8 or 4 bits, and print what that saves and costs."""
    from jaxlm.compress.measure import comparison, measure_models, scores_of
    from jaxlm.compress.weights import quantise_model
    from jaxlm.export.probes import probe_inputs
    from jaxlm.export.write import write_artefact
    from jaxlm.nn.quantise import dequantise
    from jaxlm.predict.load import load_run
    from jaxlm.train.main import keep_compiled_programs
    from jaxlm.train.recorder import Recorder
    from jaxlm.verbs.deploy.export import facts_of

    keep_compiled_programs()
    home = RunDirectory.existing(words.run)
    step = open_checkpoints(home, home.config().run if words.step == "best" else Run()).choose(words.step)
    with whole_folder(Path(words.out)) as partial:
        whole, recorder = load_run(home.path, step), Recorder.existing(home.path)
        small, name = quantise_model(whole, words.bits), f"int{words.bits}"
        models = {"float32": whole, name: small}
        scores = {key: scores_of(recorder, step, dequantise(model.variables)) for key, model in models.items()}
        inputs = probe_inputs(whole.predictor)
        found = measure_models({key: (model, scores[key]) for key, model in models.items()}, inputs)
        facts = dataclasses.replace(
            facts_of(home, step),
            scores=scores[name],
            changes=(f"the weights are kept in {words.bits} bits",),
            comparison=comparison(found, "github"),
        )
        write_artefact(partial, small, facts)
    print(comparison(found))
    print(f"artefact: {words.out}")
    return 0
