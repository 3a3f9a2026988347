"""An artefact: one folder with a model's programs, weights and host halves, which can be opened without running code.

Every file but `artefact.json` has its SHA-256 in it, and that file has its own. They are compared before anything is
read, so that damage is named; against somebody who writes digests anew they are no protection.
"""

import base64
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import export

from jaxlm.drift.sketch import Sketch, from_data
from jaxlm.errors import BadInput, one_line
from jaxlm.export.programs import ExportedSlots, Program, apply_of, prefill_name, step_name
from jaxlm.hub.pretrained import tree_from_leaves
from jaxlm.hub.tensors import FILE as WEIGHTS
from jaxlm.hub.tensors import Tensors
from jaxlm.predict.load import LoadedModel
from jaxlm.predict.predictor import Predictor
from jaxlm.runs.seal import digest_file
from jaxlm.runs.serialise import class_names, digested_text, from_json, read_digested

MANIFEST, PROBES, CARD, DRIFT = "artefact.json", "probes.json", "README.md", "drift.json"
FORMAT = 1
FIELDS = {
    "format": int,
    "jax": str,
    "oldest_jax": str,
    "name": str,
    "step": int,
    "preprocess": dict,
    "postprocess": dict,
    "programs": list,
    "batch": int,
    "dtypes": dict,
    "files": dict,
}
HOMES = ("jaxlm.predict.", "jaxlm.data.", "jaxlm.decode.", "jaxlm.losses.")  # of the classes of host halves
TOLERANCE = 1e-5  # of answers on another platform, or by another version of jax


@dataclass(frozen=True)
class Artefact:
    """An artefact whose files have the bytes that were written.

    Attributes:
        path: its folder.
        manifest: the content of artefact.json.
    """

    path: Path
    manifest: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """Return the SHA-256 that stands for the whole artefact: that of the digests of its files."""
        return hashlib.sha256(json.dumps(self.manifest["files"], sort_keys=True).encode()).hexdigest()

    def load(self) -> LoadedModel:
        """Return the model as a function from raw inputs to answers.

        Raises:
            BadInput: this jax cannot read its programs, or they do not belong to its weights.
        """
        manifest = self.manifest
        try:
            check_jax(manifest["oldest_jax"], jax.__version__, self.path)
            programs = [(one, self._deserialise(one.file)) for one in map(to_program, manifest["programs"])]
            decoder = self._decoder(manifest.get("decoder"))
            shapes = {name: ((manifest["batch"], *x["shape"]), x["dtype"]) for name, x in manifest["example"].items()}
            largest = {name: np.zeros(*one) for name, one in shapes.items()}
            found = [program.example(manifest["batch"]) for program, _ in programs]
            examples = tuple(one for one in found if one is not None) or (largest,)
            halves = [read_half(manifest[half], self.path) for half in ("preprocess", "postprocess")]
            variables = self.variables()
        except BadInput:
            raise
        except (KeyError, TypeError, ValueError, AttributeError, MemoryError) as error:
            raise BadInput(
                f"{self.path / MANIFEST} is not as jaxlm writes it ({one_line(error)}): export again"
            ) from None
        here = export.default_export_platform()
        if not any(here in program.platforms for program, _ in programs):
            known = ", ".join(sorted({str(name) for program, _ in programs for name in program.platforms})) or "none"
            raise BadInput(f"{self.path} has programs for {known}, and this machine is {here}: export it there")
        return LoadedModel(Predictor(halves[0], apply_of(programs), halves[1], examples, decoder=decoder), variables)

    def _decoder(self, found: Mapping[str, Any] | None) -> ExportedSlots | None:
        if found is None:
            return None
        sizes, counts = tuple(found["sizes"]), tuple(found["counts"])
        pieces = tuple(found.get("pieces", [found["piece"]]))
        programs = {
            prefill_name(piece): self._deserialise(
                f"{prefill_name(piece) if 'pieces' in found else 'prefill'}.stablehlo"
            )
            for piece in pieces  # there was one without a number before there were short ones
        }
        for name in (step_name(places, count) for places in sizes for count in counts):
            programs[name] = self._deserialise(f"{name}.stablehlo")
        return ExportedSlots(found["context"], pieces, sizes, counts, programs)

    def _deserialise(self, file: str) -> export.Exported:
        if file not in self.manifest["files"]:
            raise BadInput(f"{self.path / MANIFEST} names {file}, which it has no digest of: export again")
        try:
            return export.deserialize(bytearray((self.path / file).read_bytes()))
        except Exception as error:  # jax has no class for what it cannot read
            raise BadInput(
                f"{self.path / file} cannot be read by jax {jax.__version__} ({one_line(error)}): it was "
                f"written by jax {self.manifest['jax']}, install that or export again"
            ) from None

    def variables(self) -> dict[str, Any]:
        """Read the weights, {"params": ..., other collections}."""
        tensors, dtypes = Tensors(self.path / WEIGHTS), self.manifest["dtypes"]
        leaves = {name: jax.numpy.asarray(tensors[name].astype(np.dtype(dtype))) for name, dtype in dtypes.items()}
        return tree_from_leaves(leaves)

    def probes(self) -> list[tuple[Any, Any]]:
        """Return the inputs that are kept with their answers."""
        found = json.loads((self.path / PROBES).read_text("utf-8"))
        return [(from_wire(one["input"]), one["answer"]) for one in found]

    def reference(self) -> dict[str, Sketch]:
        """Return the sketches of inputs and answers that are kept with it, by feature; {}: none."""
        place = self.path / DRIFT
        return from_data(json.loads(place.read_text("utf-8")), str(place)) if place.is_file() else {}


def is_artefact(path: str | Path) -> bool:
    """Return whether a folder is an artefact."""
    return os.path.isfile(Path(path) / MANIFEST)


def open_artefact(path: str | Path) -> Artefact:
    """Open an artefact and compare every file with its digest. Nothing of it is executed.

    Raises:
        BadInput: a file is missing, has other bytes or is one too many, or a newer jaxlm wrote it; names the file.
    """
    folder = Path(path)
    try:
        manifest = read_digested(folder / MANIFEST, FIELDS)
    except ValueError as error:
        raise BadInput(f"{folder}: {error}: export it again, or copy it whole") from None
    if (folder / MANIFEST).read_bytes() != digested_text(manifest).encode():  # such as another white space
        raise BadInput(f"{folder / MANIFEST} has other bytes than were written: copy the artefact again")
    if manifest["format"] > FORMAT:
        raise BadInput(f"{folder} has format {manifest['format']}, and this jaxlm reads {FORMAT}: install a newer one")
    files = manifest["files"]
    there = {str(file.relative_to(folder)) for file in folder.rglob("*") if not file.is_dir()} - {MANIFEST}
    for name in sorted(there | files.keys()):
        if name not in files:
            raise BadInput(f"{folder / name} is no part of the artefact: take it away")
        if name not in there or not (folder / name).is_file():
            raise BadInput(f"{folder / name} is missing: copy the artefact whole")
        if digest_file(folder / name) != files[name]:
            raise BadInput(f"{folder / name} has other bytes than were written: copy the artefact again")
    return Artefact(folder, manifest)


def load_artefact(path: str | Path) -> LoadedModel:
    """Open an artefact and return its model.

    Raises:
        BadInput: see `open_artefact` and `Artefact.load`.
    """
    return open_artefact(path).load()


def read_half(value: Any, place: Path) -> Any:
    """Return a host half of a predictor from its JSON: frozen dataclasses of jaxlm alone.

    Raises:
        BadInput: a class of another home, or fields that do not fit.
    """
    for name in class_names(value):
        if not name.startswith(HOMES):
            raise BadInput(f"{place / MANIFEST} names {name}, which is no part of a predictor: export it again")
    half = from_json(value)
    for name in getattr(half, "files", ()):  # of this machine, from which code could be loaded
        if getattr(half, name) is not None:
            raise BadInput(f"{place / MANIFEST} gives a {name}, and an artefact names no other file: export it again")
    return half


def to_program(found: Mapping[str, Any]) -> Program:
    """Return the program of an entry of artefact.json."""
    return Program(found["file"], tuple(found["platforms"]), found["dtypes"], found["shapes"], found["batch"])


def check_jax(oldest: str, here: str, place: Path) -> None:
    """Raise BadInput where this version of jax is older than the one that is asked for."""
    numbers = [tuple(int(part) for part in text.split(".")[:2]) for text in (oldest, here)]
    if numbers[1] < numbers[0]:
        raise BadInput(f"{place} needs jax {oldest} or newer, and this is {here}: install a newer one")


def to_wire(value: Any) -> Any:
    """Return a raw input as JSON: bytes become {"base64": text}."""
    return {"base64": base64.b64encode(value).decode()} if isinstance(value, bytes) else value


def from_wire(value: Any) -> Any:
    """Return the raw input of `to_wire`.

    Raises:
        BadInput: the text is not base64.
    """
    if isinstance(value, dict) and value.keys() == {"base64"}:
        try:
            return base64.b64decode(value["base64"], validate=True)
        except (ValueError, TypeError):
            raise BadInput("base64 holds something that is not base64: encode the bytes again") from None
    return value


def answers_differ(found: Any, expected: Any, tolerance: float = 0.0) -> str | None:
    """Describe the first place in which two answers differ by more than a tolerance, or return None.

    Args:
        found: JSON.
        expected: JSON.
        tolerance: of numbers, absolute below 1 and relative above.
    """
    if isinstance(expected, dict) and isinstance(found, dict) and expected.keys() == found.keys():
        pairs = {f".{name}": (found[name], expected[name]) for name in expected}
    elif isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        pairs = {f"[{place}]": pair for place, pair in enumerate(zip(found, expected, strict=True))}
    else:
        numbers = all(isinstance(x, int | float) and not isinstance(x, bool) for x in (found, expected))
        near = numbers and abs(found - expected) <= tolerance * max(1.0, abs(expected))
        return None if near or found == expected else f" is {found!r}, and was {expected!r}"
    inner = ((place, answers_differ(*pair, tolerance)) for place, pair in pairs.items())
    return next((f"{place}{told}" for place, told in inner if told), None)
