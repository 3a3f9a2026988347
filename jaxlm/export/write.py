"""Write a run, or a predictor with its weights, as an artefact, and check that what was written gives its answers."""

import importlib.metadata
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxlm.drift.sketch import Sketch
from jaxlm.errors import BadInput
from jaxlm.export.artefact import (
    CARD,
    DRIFT,
    FORMAT,
    HOMES,
    MANIFEST,
    PROBES,
    answers_differ,
    open_artefact,
    to_wire,
)
from jaxlm.export.card import ModelFacts, card
from jaxlm.export.probes import probe_inputs
from jaxlm.export.programs import export_programs, export_slots
from jaxlm.hub.pretrained import leaves_by_path
from jaxlm.hub.tensors import FILE as WEIGHTS
from jaxlm.hub.tensors import save_file
from jaxlm.predict.load import LoadedModel
from jaxlm.runs.checkpoint import Say
from jaxlm.runs.seal import digest_file
from jaxlm.runs.serialise import class_names, to_json, write_digested


def write_artefact(
    folder: Path,
    model: LoadedModel,
    facts: ModelFacts,
    inputs: Sequence[Any] | None = None,
    say: Say = print,
    reference: Mapping[str, Sketch] | None = None,
) -> None:
    """Write a model as an artefact into an empty folder, open it again, and compare answers.

    Law: on this machine the artefact's answers on the probes equal those of `model`, bit for bit where its programs
    take any batch size.

    Args:
        folder: empty.
        model: what is written.
        facts: for the model card.
        inputs: raw inputs to keep as probes; None: some that are made up.
        say: called with what a user should know.
        reference: sketches of inputs and answers, with which a service compares its own; None or {}: none.

    Raises:
        BadInput: a host half that is no plain data, a model that cannot be lowered, an input that cannot be read, or an
            answer that changed.
    """
    predictor = model.predictor
    halves = {name: half_as_data(getattr(predictor, name)) for name in ("preprocess", "postprocess")}
    probes = probe_inputs(predictor) if inputs is None else list(inputs)
    answers = model(probes)
    programs, decoder = _write_programs(folder, model, say), None
    if predictor.decoder is not None:
        decoder = {name: getattr(predictor.decoder, name) for name in ("context", "piece", "pieces", "sizes", "counts")}
        for name, code in export_slots(predictor.decoder, model.variables).items():
            (folder / f"{name}.stablehlo").write_bytes(code)
    leaves = {name: np.asarray(leaf) for name, leaf in leaves_by_path(model.variables).items()}
    save_file(folder / WEIGHTS, leaves)
    kept = [{"input": to_wire(one), "answer": answer} for one, answer in zip(probes, answers, strict=True)]
    (folder / PROBES).write_text(json.dumps(kept, indent=1) + "\n", "utf-8")
    if reference:
        sketches = {name: one.to_data() for name, one in reference.items()}
        (folder / DRIFT).write_text(json.dumps(sketches, indent=1) + "\n", "utf-8")
    files = {file.name: digest_file(file) for file in sorted(folder.iterdir())}
    (folder / CARD).write_text(card(facts, programs, files), "utf-8")
    largest = predictor.examples[-1]
    content = {
        "format": FORMAT,
        "jaxlm": importlib.metadata.version("jaxlm"),
        "jax": jax.__version__,
        "oldest_jax": ".".join(jax.__version__.split(".")[:2]),
        "name": facts.name,
        "step": facts.step,
        **halves,
        "programs": programs,
        "decoder": decoder,
        "batch": predictor.batch,
        "example": {name: {"shape": x.shape[1:], "dtype": str(x.dtype)} for name, x in largest.items()},
        "dtypes": {name: str(leaf.dtype) for name, leaf in leaves.items()},
        "files": files | {CARD: digest_file(folder / CARD)},
    }
    write_digested(folder / MANIFEST, content)
    check_probes(open_artefact(folder).load(), probes, answers)


def _write_programs(folder: Path, model: LoadedModel, say: Say) -> list[dict[str, Any]]:
    """Write a program for each shape of rows, and return what artefact.json says of them."""
    found = []
    for program, code, reason in export_programs(model.predictor, model.variables):
        (folder / program.file).write_bytes(code)
        found.append(asdict(program))
        if program.batch is not None:
            say(f"{program.file} takes {program.batch} rows at a time alone ({reason})")
        elif reason:
            say(f"{program.file} runs on {', '.join(program.platforms)} alone ({reason})")
    return found


def check_probes(model: LoadedModel, inputs: Sequence[Any], answers: Sequence[Any], tolerance: float = 0.0) -> None:
    """Raise BadInput where a model's answers to inputs are others; names the input and the place."""
    found = json.loads(json.dumps(model(inputs)))
    for number, (one, answer) in enumerate(zip(found, json.loads(json.dumps(list(answers))), strict=True)):
        if told := answers_differ(one, answer, tolerance):
            raise BadInput(
                f"the answer to probe {number} is another one: it{told}: export it on the machine of the run"
            )


def half_as_data(half: Any) -> Mapping[str, Any]:
    """Return a host half of a predictor as JSON.

    Raises:
        BadInput: it is a class of the experiment's own, or holds something that is no plain value.
    """
    try:
        value = to_json(half)
    except TypeError as error:
        raise BadInput(
            f"{type(half).__name__} cannot be written as data ({error}): use a class of jaxlm.predict"
        ) from None
    for name in class_names(value):
        if not name.startswith(HOMES):
            raise BadInput(
                f"{name} is code of the experiment, which an artefact does not hold: use a class of jaxlm.predict"
            )
    for name in getattr(half, "files", ()):
        if getattr(half, name) is not None:
            raise BadInput(f"{name} is {getattr(half, name)}, and an artefact names no other file: leave it out")
    return value
