"""`jaxlm export`: write a run's model in a format that other programs read."""

import argparse
import ast
import dataclasses
import json
from pathlib import Path

from jaxlm.drift.sketch import Sketch
from jaxlm.errors import BadInput, one_line
from jaxlm.export.card import ModelFacts, facts_of_run
from jaxlm.hub import pretrained
from jaxlm.hub.transfer import unrolled
from jaxlm.hub.whisper import companions
from jaxlm.predict.load import LoadedModel
from jaxlm.runs.checkpoint import CheckpointStep
from jaxlm.runs.directory import TOKENIZER, RunDirectory
from jaxlm.runs.files import whole_folder
from jaxlm.runs.settings import Run
from jaxlm.runs.weights import open_checkpoints, read_leaves, read_run

TOKENIZER_CONFIG = "tokenizer_config.json"


def export(words: argparse.Namespace) -> int:
    """Write a run's model, or its adapters alone, into a folder that other programs load."""
    out = Path(words.out)
    with whole_folder(out) as partial:
        if words.to == "embeddings":
            summary = _write_embedder(partial, words)
            print(f"{summary} written to {out}")
            return 0
        home = RunDirectory.existing(words.run)
        if words.to == "artefact":
            summary = _write_artefact(partial, home, words)
        elif words.probe or words.expected is not None:
            raise BadInput(f"--probe and --expected are for an artefact, not for --to {words.to}: leave them out")
        else:
            write = {"hf": _write_model, "onnx": _write_onnx, "peft": _write_adapters}[words.to]
            summary = write(partial, home, words.step)
    print(f"{summary} written to {out}")
    return 0


def _write_artefact(folder: Path, home: RunDirectory, words: argparse.Namespace) -> str:
    """Write what `jaxlm.load` opens without the experiment's code."""
    from jaxlm.export.write import write_artefact
    from jaxlm.predict.load import load_run
    from jaxlm.train.main import keep_compiled_programs

    keep_compiled_programs()
    chosen = open_checkpoints(home, home.config().run if words.step == "best" else Run()).choose(words.step)
    inputs = [read_probe(text) for text in words.probe] or None
    model = load_run(home.path, chosen)
    reference = reference_of_run(home, model) if words.expected is None else reference_of_file(model, words.expected)
    write_artefact(folder, model, facts_of(home, chosen), inputs, reference=reference)
    files = [*folder.iterdir()]
    size = sum(file.stat().st_size for file in files)
    return f"{len(files)} files of {size / 1e6:.1f} MB, whose answers are those of the run at update {chosen},"


def _write_embedder(folder: Path, words: argparse.Namespace) -> str:
    """Write what gives the vectors of texts, as an artefact."""
    from jaxlm.export.write import write_artefact
    from jaxlm.train.main import keep_compiled_programs
    from jaxlm.verbs.deploy.embeddings import load_embedder

    keep_compiled_programs()
    model, step = load_embedder(words.run, words.step)
    if step is None:
        facts = ModelFacts(Path(words.run).name, 0, "An encoder of texts.")
    else:
        facts = facts_of(RunDirectory.existing(words.run), step)
    reference = None if words.expected is None else reference_of_file(model, words.expected)
    write_artefact(folder, model, facts, [read_probe(text) for text in words.probe] or None, reference=reference)
    return "an artefact, which answers with the vectors of texts,"


def reference_of_file(model: LoadedModel, file: str) -> dict[str, Sketch]:
    """Return sketches of the inputs in a file and of a model's answers to them."""
    from jaxlm.drift.reference import reference_of_inputs
    from jaxlm.predict.tables.rows import EncodeRows
    from jaxlm.verbs.predict import read_file

    read, path = model.predictor.preprocess, Path(file).expanduser()
    if isinstance(read, EncodeRows):
        return reference_of_inputs(model, [row for _, row in read.read_file(path)[0]])
    return reference_of_inputs(model, [one.value for one in read_file(path, (), getattr(read, "columns", ()))])


def reference_of_run(home: RunDirectory, model: LoadedModel) -> dict[str, Sketch]:
    """Return sketches of the inputs of a run's evaluation and of a model's answers to them; {} without its data."""
    from jaxlm.drift.reference import reference_of
    from jaxlm.train.recorder import Recorder

    try:
        evaluations = Recorder.existing(home.path).experiment.evaluations
        return reference_of(model, next(iter(evaluations.values())).data) if evaluations else {}
    except Exception as error:  # such as data that are gone: the model is written all the same
        print(f"nothing to compare later inputs with is kept, as the evaluation cannot be read ({one_line(error)})")
        return {}


def _write_onnx(folder: Path, home: RunDirectory, step: CheckpointStep) -> str:
    """Write what the model computes as ONNX, compared with onnxruntime."""
    from jaxlm.export.onnx import write_onnx
    from jaxlm.predict.load import load_run

    written = write_onnx(folder, load_run(home.path, step))
    return f"model.onnx, of {written.described}, whose outputs on the probes differ by {written.difference:.1g},"


def facts_of(home: RunDirectory, step: int) -> ModelFacts:
    """Return what a model card says of a run at a checkpoint."""
    task = (ast.get_docstring(ast.parse(home.experiment.read_bytes())) or "").partition("\n")[0]
    return facts_of_run(home, step, task)


def read_probe(text: str) -> object:
    """Return an input of the command line: the bytes of a file, JSON, or a text."""
    path = Path(text).expanduser()
    if len(text) < 4096 and path.is_file():
        return path.read_bytes()
    try:
        return json.loads(text) if text[:1] in "{[" else text
    except ValueError:
        return text


def _write_model(folder: Path, home: RunDirectory, step: CheckpointStep) -> str:
    """Write the model as transformers loads it."""
    from jaxlm.data import load_tokenizer
    from jaxlm.data.tokenizers.files import library_files

    config, leaves = home.config(), read_leaves(str(home.path), step)
    model = config.model
    model = getattr(model, "base", model)  # adapters are merged by now
    if getattr(model, "scan", False):
        model, leaves = model.clone(scan=False), unrolled(leaves)
    tokenizer = load_tokenizer(home.artefact(TOKENIZER)) if (home.path / TOKENIZER).is_file() else None
    files = library_files(tokenizer) if tokenizer else {}
    special = dataclasses.asdict(tokenizer.special) if tokenizer else {}
    pretrained.save_pretrained(folder, model, leaves, special, home.class_names())
    if TOKENIZER_CONFIG in files:
        inputs = {"model_input_names": pretrained.family_of_model(model).model_inputs}
        files[TOKENIZER_CONFIG] = json.dumps(json.loads(files[TOKENIZER_CONFIG]) | inputs, indent=2) + "\n"
    if tokenizer and hasattr(model, "source_context"):
        files |= companions(model, config.data.features, config.decode, tokenizer)
    for name, text in files.items():
        (folder / name).write_text(text, "utf-8")
    if tokenizer and not files:
        print("its tokenizer has no form that transformers knows, and is left out")
    return f"{len(leaves)} arrays"


def _write_adapters(folder: Path, home: RunDirectory, step: CheckpointStep) -> str:
    """Write the adapters as PEFT loads them."""
    from jaxlm.hub import peft

    variables, model = read_run(home, step), home.config().model
    if "base" not in variables:
        raise BadInput(f"{home.path} has no adapters: its model is no Adapted(...); export it with --to hf")
    leaves = pretrained.leaves_by_path({"params": variables["params"]})
    base = model.base
    if getattr(base, "scan", False):
        base, leaves = base.clone(scan=False), unrolled(leaves)
    peft.save_adapters(folder, base, model.lora, pretrained.tree_from_leaves(leaves)["params"])
    return f"{len(leaves)} arrays of adapters"
