"""`jaxlm compress`: a smaller model of a run, measured beside it on the same data."""

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from tabulate import tabulate

from jaxlm.errors import BadInput
from jaxlm.predict.load import LoadedModel
from jaxlm.runs.directory import RunDirectory
from jaxlm.runs.files import whole_folder
from jaxlm.runs.settings import Run
from jaxlm.runs.weights import open_checkpoints


def compress(words: argparse.Namespace, rest: list[str]) -> int:
    """Write a smaller model of a run, and print what that saves and costs: an artefact, or a run.

    Args:
        words: the command line.
        rest: overrides of the student's config.
    """
    if words.distill is not None:
        return _distil(words, rest)
    if rest:
        raise BadInput(f"unrecognized arguments: {' '.join(rest)}; only --distill CONFIG has a config to change")
    quantised = words.bits is not None or words.int8_static is not None
    if words.to != "artefact" and not quantised:
        raise BadInput(f"--to {words.to} is for 8 and 4 bits, and this writes a run: leave it out")
    return _quantise(words) if quantised else _prune(words)


def _distil(words: argparse.Namespace, rest: list[str]) -> int:
    """Train a student of a run, as a run, and measure both."""
    from jaxlm.compress.distill import student_config
    from jaxlm.compress.measure import comparison, measure_models
    from jaxlm.export.probes import probe_inputs
    from jaxlm.predict.load import load_run
    from jaxlm.runs.load import load_module
    from jaxlm.runs.shipped import find_both
    from jaxlm.train.config import load_config, override, shorten_warmup
    from jaxlm.train.main import keep_compiled_programs, train_directory
    from jaxlm.train.recorder import Recorder

    keep_compiled_programs()
    home, step = _chosen(words)
    experiment, file = find_both([words.distill])
    given = load_config(file)
    changed = shorten_warmup(override(given, rest, "jaxlm compress --distill"), given, rest)
    options = {"temperature": words.temperature, "weight": words.weight}
    config = student_config(changed, home, step, Path(words.out), **options)
    train_directory(load_module(experiment).build, config, words.out)
    models = {}
    for name, path, chosen in (("teacher", home.path, step), ("student", Path(words.out), None)):
        recorder = Recorder.existing(path)
        numbers = recorder.numbers(recorder.restore(recorder.checkpoints.choose(chosen)))
        models[name] = load_run(path, chosen), numbers
    print(comparison(measure_models(models, probe_inputs(models["teacher"][0].predictor))))
    return 0


def _prune(words: argparse.Namespace) -> int:
    """Write a run with pruned weights, which keeps its zeros when it is trained on."""
    from jaxlm.compress.prune import prune_groups, prune_share, zeros_of
    from jaxlm.compress.pruned_run import prune_run
    from jaxlm.train.main import keep_compiled_programs

    if words.prune is not None and not 0 < words.prune < 1:
        raise BadInput(f"--prune is {words.prune}: it is a share between 0 and 1")
    keep_compiled_programs()
    home, step = _chosen(words)
    counts = []

    def change(params: Any) -> Any:
        found = prune_share(params, words.prune) if words.nm is None else prune_groups(params, *words.nm)
        counts.append(zeros_of(found))
        return found

    numbers = prune_run(home, step, Path(words.out), change)
    (zeros, size), (before, after) = counts[0], numbers.values()
    print(f"{zeros:,} of {size:,} weights of kernels are zero ({zeros / size:.1%})")
    rows = [(name, f"{before[name]:.6g}", f"{after[name]:.6g}") for name in after]
    print(tabulate(rows, ["metric", "before", "after"], disable_numparse=True))
    later = max(home.config().run.steps, step) * 6 // 5
    print(f"run: {words.out}; to train what is left: jaxlm fork {words.out} NEW --run.steps {later}")
    return 0


def _chosen(words: argparse.Namespace) -> tuple[RunDirectory, int]:
    home = RunDirectory.existing(words.run)
    run = home.config().run if words.step == "best" else Run()
    return home, open_checkpoints(home, run).choose(words.step)


def _quantise(words: argparse.Namespace) -> int:
    """Write an artefact, or ONNX, with weights in 8 or 4 bits."""
    from jaxlm.compress.measure import comparison, measure_models, scores_of
    from jaxlm.export.onnx import write_onnx
    from jaxlm.export.probes import probe_inputs
    from jaxlm.export.write import write_artefact
    from jaxlm.nn.integer import integer_layers
    from jaxlm.nn.quantise import dequantise
    from jaxlm.predict.load import load_run
    from jaxlm.train.main import keep_compiled_programs
    from jaxlm.train.recorder import Recorder
    from jaxlm.verbs.deploy.export import facts_of, reference_of_run

    keep_compiled_programs()
    home, step = _chosen(words)
    with whole_folder(Path(words.out)) as partial:
        whole = load_run(home.path, step)
        name, small, changes = _smaller(words, home, whole)
        models, scores = {"float32": whole, name: small}, {}
        for key, model in models.items():
            with integer_layers(model.variables["params"]):  # a recorder of its own, as programs are kept
                scores[key] = scores_of(Recorder.existing(home.path), step, dequantise(model.variables))
        inputs = probe_inputs(whole.predictor)
        found = measure_models({key: (model, scores[key]) for key, model in models.items()}, inputs)
        facts = dataclasses.replace(
            facts_of(home, step), scores=scores[name], changes=changes, comparison=comparison(found, "github")
        )
        form = "artefact"
        if words.to == "onnx":
            form = f"ONNX of {write_onnx(partial, small).described}"
        else:
            write_artefact(partial, small, facts, reference=reference_of_run(home, small))
    print(comparison(found))
    print(f"{form}: {words.out}")
    return 0


def _smaller(
    words: argparse.Namespace, home: RunDirectory, whole: LoadedModel
) -> tuple[str, LoadedModel, tuple[str, ...]]:
    """Return the name of a quantised model, the model, and what a card says of it."""
    from jaxlm.compress.static import calibration_batches, measure_ranges, quantise_static
    from jaxlm.compress.weights import quantise_model
    from jaxlm.train.recorder import Recorder

    count = words.int8_static
    if count is None:
        change = f"the weights are kept in {words.bits} bits"
        return f"int{words.bits}", quantise_model(whole, words.bits), (change,)
    if count < 1:
        raise BadInput(f"--int8-static is {count}: give the training batches to measure ranges on, 1 or more")
    batches = calibration_batches(whole, Recorder.existing(home.path).experiment.train_data, count)
    ranges = measure_ranges(whole, batches)
    change = f"{len(ranges)} layers compute in 8-bit integers, with the input ranges of {count} training batches"
    return "int8 static", quantise_static(whole, ranges), (change,)
